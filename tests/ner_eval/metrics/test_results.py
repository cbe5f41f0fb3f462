"""Scores add up, do not depend on the order, and are 1 only for a perfect match."""

import dataclasses
import json

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ner_common.errors import UserError
from ner_data.alignment import align
from ner_data.gold import Entity, Mention, Parsed, Record
from ner_eval.metrics import protocols
from ner_eval.metrics.counts import macro, micro
from ner_eval.metrics.loaded_run import Answered
from ner_eval.metrics.results import Scores, score_run
from ner_eval.metrics.scores_file import read_scores
from scored import LABELS, example, loaded


@st.composite
def sentences(draw: st.DrawFn) -> Answered:
    text = draw(st.text("甲乙", min_size=1, max_size=6))
    spans = draw(st.sets(st.tuples(st.integers(0, 5), st.integers(1, 6), st.sampled_from(LABELS)), max_size=3))
    gold = tuple(Entity(s, e, label, text[s:e]) for s, e, label in spans if s < e <= len(text))
    same = draw(st.booleans())
    named = st.builds(Mention, st.sampled_from((*LABELS, "x", "")), st.text("甲乙丙", max_size=3))
    record = Record("r", text, gold)
    mentions = tuple(Mention(e.label, e.text) for e in record.gold) if same else draw(st.lists(named, max_size=4))
    problems = draw(st.sampled_from([(), (), ("inexact",), ("bad_item",), ("unparsable",)]))
    mentions = () if problems == ("unparsable",) else mentions
    return Answered(record, "", Parsed(tuple(mentions), problems), tuple(align(mentions, text)), draw(st.booleans()))


runs = st.lists(sentences(), min_size=1, max_size=8)


@settings(deadline=None)
@given(runs, runs)
def test_parts_add_up_to_the_whole(one, other):
    whole, part, rest = (score_run(loaded(answered)).readings for answered in (one + other, one, other))
    for reading, counted in whole.items():
        for protocol, by_label in counted.counts.items():
            parts = part[reading].counts[protocol], rest[reading].counts[protocol]
            assert by_label == {label: parts[0][label] + parts[1][label] for label in by_label}
        for field in ("mentions", *counted.modes):
            three = (
                r[reading].mentions if field == "mentions" else r[reading].modes[field] for r in (whole, part, rest)
            )
            assert all(total == a + b for total, a, b in zip(*map(msgspec.structs.astuple, three), strict=True))


# A deadline would depend on the machine's other work.
@settings(max_examples=25, deadline=None)
@given(runs, st.randoms(use_true_random=False))
def test_the_order_of_records_does_not_matter_not_even_to_the_intervals(answered, rng):
    shuffled = rng.sample(answered, len(answered))
    assert score_run(loaded(shuffled)) == score_run(loaded(answered))


@settings(deadline=None)
@given(runs)
def test_f1_is_1_only_for_a_perfect_match(answered):
    reading = score_run(loaded(answered)).readings["lenient"]
    same_text = all({(m.label, m.text) for m in item.parsed.mentions} == {(e.label, e.text) for e in item.record.gold}
                    for item in answered)  # fmt: skip
    same_span = all(sorted((m.label, span) for m, span in zip(item.parsed.mentions, item.spans, strict=True) if span)
                    == sorted((e.label, (e.start, e.end)) for e in item.record.gold) and None not in item.spans
                    for item in answered)  # fmt: skip
    some = any(item.record.gold for item in answered)
    assert (micro(reading.counts["text"]).f1 == 1) == (same_text and some)
    assert (micro(reading.counts["span"]).f1 == 1) == (same_span and some)
    assert reading.modes["strict"].f1 < 1 or same_span


@settings(deadline=None)
@given(runs)
def test_every_mention_and_entity_is_counted_once(answered):
    """Every mention and every gold entity is counted once, in each protocol that counts mentions."""
    scores = score_run(loaded(answered))
    assert scores.answers.scored == len(answered)
    for reading in scores.readings.values():
        total = micro(reading.counts["span"])
        assert reading.mentions.gold == sum(len(item.record.gold) for item in answered)
        assert total.tp + total.fp == reading.mentions.predicted
        assert total.tp + total.fn == reading.mentions.gold
        for mode in reading.modes.values():
            matched = mode.correct + mode.incorrect + mode.partial
            assert matched + mode.spurious == reading.mentions.predicted
            assert matched + mode.missed == reading.mentions.gold
        text = micro(reading.counts["text"])
        distinct = sum(len({(e.label, e.text) for e in item.record.gold}) for item in answered)
        assert text.tp + text.fn == distinct


@settings(deadline=None)
@given(runs)
def test_strict_reads_no_mention_from_an_answer_that_is_not_exactly_the_form(answered):
    emptied = [
        dataclasses.replace(item, parsed=Parsed((), item.parsed.problems), spans=()) if item.parsed.problems else item
        for item in answered
    ]
    assert score_run(loaded(answered)).readings["strict"] == score_run(loaded(emptied)).readings["lenient"]


def test_scores_come_back_as_written(tmp_path):
    scores = score_run(loaded(example()))
    scores.save(tmp_path / "scores.json")
    read = read_scores(tmp_path / "scores.json")
    assert msgspec.structs.replace(read, intervals={}) == msgspec.structs.replace(scores, intervals={})
    assert read.intervals == json.loads(json.dumps(scores.intervals))


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(runs)
def test_whatever_is_scored_adds_up_when_it_is_read(tmp_path, answered):
    """`read_scores` refuses files whose counts contradict each other, and no others."""
    scores = score_run(loaded(answered))
    scores.save(tmp_path / "scores.json")
    read = read_scores(tmp_path / "scores.json")
    assert (read.readings, read.answers) == (scores.readings, scores.answers)


def test_only_counts_and_intervals_are_stored(tmp_path):
    path = tmp_path / "scores.json"
    score_run(loaded(example())).save(path)
    value = json.loads(path.read_text("utf-8"))
    for reading in value["readings"].values():
        leaves = [reading]
        while leaves:
            leaf = leaves.pop()
            leaves += leaf.values() if isinstance(leaf, dict) else []
            assert isinstance(leaf, dict | int)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"version": 2}, "version 2, this program reads version 1"),
        ({"answers": {"scored": 1, "other": 2}}, "incomplete or edited"),
        ({"readings": 7}, "incomplete or edited"),
    ],
)
def test_a_scores_file_of_another_version_or_form_is_refused(tmp_path, change, message):
    path = tmp_path / "scores.json"
    score_run(loaded(example())).save(path)
    path.write_text(json.dumps({**json.loads(path.read_text("utf-8")), **change}), "utf-8")
    with pytest.raises(UserError, match=message):
        read_scores(path)


def test_a_label_without_gold_and_predictions_counts_as_0_in_macro():
    record = Record("r", "甲乙丙", (Entity(0, 1, "a", "甲"),))
    item = Answered(record, "", Parsed((Mention("a", "甲"),)), ((0, 1),), False)
    scores: Scores = score_run(loaded([item]))
    assert macro(scores.readings["lenient"].counts["text"], LABELS) == (0.5, 0.5, 0.5)


def test_scores_from_before_a_protocol_was_added_load_and_lack_only_that(tmp_path, monkeypatch):
    path = tmp_path / "scores.json"
    score_run(loaded(example())).save(path)
    toy = dataclasses.replace(protocols.SPAN, name="toy", counted_as="toy")
    monkeypatch.setitem(protocols.PROTOCOLS, "toy", toy)
    read = read_scores(path)
    assert read.headline(protocols.TEXT, "lenient") > 0
    with pytest.raises(UserError, match=r"m: its scores have no protocol toy; run `ner-eval score` again"):
        read.headline(toy, "lenient")
