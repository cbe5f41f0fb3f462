"""Intervals: resampling classes of sentences is resampling sentences."""

import random

import numpy as np
import pytest

from ner_data.alignment import align
from ner_data.gold import Entity, Mention, Parsed, Record
from ner_eval.metrics import bootstrap
from ner_eval.metrics.loaded_run import Answered
from ner_eval.metrics.mention_arrays import mention_arrays
from ner_eval.metrics.protocols import tally_span, tally_text
from ner_eval.metrics.results import score_run
from scored import LABELS, example, loaded


def drawn_one_by_one(tally: np.ndarray, resamples: int = 4000) -> np.ndarray:
    drawn = np.random.default_rng(7).integers(0, len(tally), size=(resamples, len(tally)))
    return np.stack([tally[row].sum(axis=0) for row in drawn])


def f1_of(counts: np.ndarray, average: str) -> np.ndarray:
    """Per resample (axis 0), from the definition; the last row of counts is for labels outside the set."""
    own = counts[:, :-1] if average == "macro" else counts.sum(axis=1, keepdims=True)
    hits, claimed, wanted = own[..., 0], own[..., 0] + own[..., 1], own[..., 0] + own[..., 2]
    with np.errstate(invalid="ignore"):
        return np.nan_to_num(2 * hits / (claimed + wanted)).mean(axis=1)


def uneven(count_of: int) -> list[Answered]:
    """Label a is frequent and found, label b rare and mostly missed; some mentions carry a label outside the set."""
    rng = random.Random(3)
    items = []
    for number in range(count_of):
        gold = (Entity(0, 1, "a", "甲"), *((Entity(1, 2, "b", "乙"),) if number % 5 == 0 else ()))
        mentions = [Mention(e.label, e.text) for e in gold if rng.random() < (0.9 if e.label == "a" else 0.4)]
        mentions += [Mention("x", "丙")] * (rng.random() < 0.1)
        parsed = Parsed(tuple(mentions), ("inexact",) if rng.random() < 0.2 else ())
        items.append(
            Answered(Record(f"r-{number}", "甲乙丙", gold), "", parsed, tuple(align(mentions, "甲乙丙")), False)
        )
    return items


@pytest.mark.parametrize("average", ["micro", "macro"])
@pytest.mark.parametrize("make", [example, uneven])
def test_resampling_classes_of_sentences_is_resampling_sentences(make, average):
    """The same distribution as drawing sentences one by one: mean and spread agree within what chance allows."""
    tally = tally_text(mention_arrays(make(60), LABELS))
    (fast,) = bootstrap.resample([tally], resamples=4000)
    one = bootstrap.micro_f1(fast) if average == "micro" else bootstrap.macro_f1(fast, len(LABELS))
    other = f1_of(drawn_one_by_one(tally), average)
    assert one.mean() == pytest.approx(other.mean(), abs=4 * one.std() * (2 / 4000) ** 0.5)
    assert one.std() == pytest.approx(other.std(), rel=0.08)
    assert bootstrap.interval(one) == pytest.approx(bootstrap.interval(other), abs=0.01)


def test_the_stored_intervals_are_those_of_their_protocol_average_and_reading():
    answered = uneven(200)
    found = score_run(loaded(answered)).intervals
    assert (found["level"], found["resamples"]) == (0.95, 1000)
    table = mention_arrays(answered, LABELS)
    for reading, read in (("lenient", table), ("strict", table.strict())):
        for protocol, tally in (("text", tally_text(read)), ("span", tally_span(read))):
            counts = drawn_one_by_one(tally, 2000)
            for average in ("micro", "macro"):
                low, high = np.quantile(f1_of(counts, average), [0.025, 0.975])
                assert found[reading][protocol][average] == pytest.approx((low, high), abs=0.02)
    lenient, strict = found["lenient"]["text"], found["strict"]["text"]
    # If two of them were confused, the comparison above would notice.
    assert lenient["micro"][0] - lenient["macro"][0] > 0.05 and lenient["micro"][0] - strict["micro"][0] > 0.05


def test_resampling_is_paired_and_seeded():
    tally = tally_text(mention_arrays(example(), LABELS))
    one, same = bootstrap.resample([tally, tally])
    assert (one == same).all()
    assert (bootstrap.resample([tally])[0] == bootstrap.resample([tally])[0]).all()
    assert (bootstrap.resample([tally], seed=1)[0] != bootstrap.resample([tally])[0]).any()


@pytest.mark.parametrize("average", ["micro", "macro"])
def test_the_interval_covers_the_true_value_about_as_often_as_it_says(average):
    """200 samples of 120 sentences, one mention each: 80 of a label that is hit with probability 0.8, 40 of one that is
    hit with probability 0.5. F1 is the share of hits, of a label or of all."""
    rng = np.random.default_rng(5)
    chance = np.array([0.8] * 80 + [0.5] * 40)
    label = np.array([0] * 80 + [1] * 40)
    true = {"micro": 0.7, "macro": 0.65}[average]
    covered = 0
    for _ in range(200):
        hits = rng.random(120) < chance
        tally = np.zeros((120, 3, 3), dtype=np.int32)
        tally[np.arange(120), label, 0] = hits
        tally[np.arange(120), label, 1] = tally[np.arange(120), label, 2] = ~hits
        (drawn,) = bootstrap.resample([tally], resamples=400)
        f1 = bootstrap.micro_f1(drawn) if average == "micro" else bootstrap.macro_f1(drawn, 2)
        low, high = bootstrap.interval(f1)
        covered += low <= true <= high
    assert 0.89 <= covered / 200 <= 0.99
