"""Our counts against the field's own scorers, on random and on real data."""

import json
import random
from collections import Counter
from collections.abc import Sequence

import numpy as np
import pytest
from msgspec.structs import astuple
from nervaluate import Evaluator
from seqeval.metrics import classification_report
from seqeval.scheme import IOB2

from ner_data.alignment import align
from ner_data.gold import Entity, Mention, Parsed, Record
from ner_eval.metrics.counts import Counts, ModeCounts, macro, micro
from ner_eval.metrics.loaded_run import Answered
from ner_eval.metrics.mention_arrays import mention_arrays
from ner_eval.metrics.modes import MODES, OUTCOMES, count_modes
from ner_eval.metrics.protocols import tally_span, tally_text

LABELS = ("a", "b", "c")
NERVALUATE = {"strict": "strict", "exact": "exact", "partial": "partial", "type": "ent_type"}


def placed(gold: Sequence[Entity], predicted: Sequence[Entity], text: str, number: int = 1) -> Answered:
    """A sentence whose predictions are where the test says, not where alignment would put them."""
    record = Record(f"r-{number}", text, tuple(gold))
    mentions = tuple(Mention(e.label, e.text) for e in predicted)
    return Answered(record, "", Parsed(mentions), tuple((e.start, e.end) for e in predicted), False)


def flat_entities(text: str, rng: random.Random, labels: Sequence[str]) -> list[Entity]:
    entities, start = [], 0
    while start < len(text):
        end = min(len(text), start + rng.randint(1, 3))
        if rng.random() < 0.5:
            entities.append(Entity(start, end, rng.choice(labels), text[start:end]))
        start = end + rng.randint(0, 2)
    return entities


def any_entities(text: str, rng: random.Random, labels: Sequence[str]) -> list[Entity]:
    """Nested, overlapping and repeated mentions too."""
    entities = []
    for _ in range(rng.randint(0, 5)):
        start = rng.randrange(len(text))
        end = rng.randint(start + 1, len(text))
        entities.append(Entity(start, end, rng.choice(labels), text[start:end]))
    return sorted(entities)


def random_text(rng: random.Random) -> str:
    return "".join(rng.choice("甲乙丙") for _ in range(rng.randint(1, 12)))


def bio(entities: Sequence[Entity], length: int) -> list[str]:
    tags = ["O"] * length
    for entity in entities:
        tags[entity.start : entity.end] = ["I-" + entity.label] * (entity.end - entity.start)
        tags[entity.start] = "B-" + entity.label
    return tags


def as_dicts(entities: Sequence[Entity]) -> list[dict[str, object]]:
    # nervaluate counts inclusive ends.
    return [{"label": e.label, "start": e.start, "end": e.end - 1} for e in entities]


def nervaluate(gold: Sequence[Entity], predicted: Sequence[Entity], labels: Sequence[str]) -> dict[str, ModeCounts]:
    # Its loader guesses from the first item and fails on an empty one, so the loader is named.
    result = Evaluator([as_dicts(gold)], [as_dicts(predicted)], tags=list(labels), loader="dict").evaluate()["overall"]
    return {mode: ModeCounts(*(getattr(result[name], o) for o in OUTCOMES)) for mode, name in NERVALUATE.items()}


def our_modes(answered: Sequence[Answered], labels: Sequence[str]) -> dict[str, ModeCounts]:
    rows = count_modes(mention_arrays(answered, labels)).tolist()
    return {mode: ModeCounts(*row) for mode, row in zip(MODES, rows, strict=True)}


def by_label(tally: np.ndarray, labels: Sequence[str]) -> dict[str, Counts]:
    return {label: Counts(*row) for label, row in zip((*labels, ""), tally.sum(axis=0).tolist(), strict=True)}


def random_flat_sentences(seed: int, count: int) -> list[Answered]:
    rng = random.Random(seed)
    sentences = []
    for number in range(count):
        text = random_text(rng)
        gold, predicted = flat_entities(text, rng, LABELS), flat_entities(text, rng, LABELS)
        sentences.append(placed(gold, predicted, text, number))
    return sentences


@pytest.fixture(params=["random", "cluener", "tcm"])
def flat_sentences(request, real_corpus, corrupt):
    """Sentences in which no two mentions of one side overlap, as BIO tags can hold them, and their labels."""
    if request.param == "random":
        return random_flat_sentences(1, 2000), LABELS
    records, labels = real_corpus(request.param)
    rng = random.Random(2)
    sentences = []
    for number, record in enumerate(records):
        gold = without_overlap(record.gold)
        answer = corrupt(Record(record.id, record.text, tuple(gold)), labels, rng)
        mentions = [Mention(**item) for item in _items(answer) if item["label"] in labels]
        spans = align(mentions, record.text)
        found = [Entity(*s, m.label, m.text) for m, s in zip(mentions, spans, strict=True) if s]
        sentences.append(placed(gold, without_overlap(sorted(found)), record.text, number))
    return sentences, labels


def without_overlap(entities: Sequence[Entity]) -> list[Entity]:
    kept: list[Entity] = []
    for entity in entities:
        if not kept or entity.start >= kept[-1].end:
            kept.append(entity)
    return kept


def _items(answer: str) -> list[dict[str, str]]:
    try:
        return json.loads(answer)
    except ValueError:
        return []


def entities_of(item: Answered) -> list[Entity]:
    return [Entity(*span, m.label, m.text) for m, span in zip(item.parsed.mentions, item.spans, strict=True) if span]


def test_span_equals_seqeval(flat_sentences):
    sentences, labels = flat_sentences
    gold = [bio(item.record.gold, len(item.record.text)) for item in sentences]
    predicted = [bio(entities_of(item), len(item.record.text)) for item in sentences]
    report = classification_report(gold, predicted, mode="strict", scheme=IOB2, output_dict=True, zero_division=0)
    ours = by_label(tally_span(mention_arrays(sentences, labels)), labels)
    for label in labels:
        row = report[label]
        assert (ours[label].precision, ours[label].recall, ours[label].f1) == pytest.approx(
            (row["precision"], row["recall"], row["f1-score"]), abs=1e-12
        )
        assert ours[label].tp + ours[label].fn == row["support"]
    assert micro(ours).f1 == pytest.approx(report["micro avg"]["f1-score"], abs=1e-12)
    assert macro(ours, labels)[2] == pytest.approx(report["macro avg"]["f1-score"], abs=1e-12)


def test_span_equals_nervaluate_strict(flat_sentences):
    """If predictions do not overlap each other; if they do, nervaluate lets a near miss take the gold mention from the
    hit that comes after it."""
    sentences, labels = flat_sentences
    for item in sentences:
        theirs = nervaluate(item.record.gold, entities_of(item), labels)["strict"]
        ours = micro(by_label(tally_span(mention_arrays([item], labels)), labels))
        assert (ours.tp, ours.fp, ours.fn) == (
            theirs.correct,
            theirs.incorrect + theirs.spurious,
            theirs.incorrect + theirs.missed,
        )


@pytest.mark.parametrize("make", [flat_entities, any_entities])
def test_modes_equal_nervaluate_on_single_documents(make):
    rng = random.Random(3)
    sentences = []
    total: Counter[str] = Counter()
    for number in range(1500):
        text = random_text(rng)
        gold, predicted = make(text, rng, LABELS), make(text, rng, LABELS)
        item = placed(gold, predicted, text, number)
        theirs = nervaluate(item.record.gold, predicted, LABELS)
        assert our_modes([item], LABELS) == theirs, (text, gold, predicted)
        sentences.append(item)
        for mode, counts in theirs.items():
            total.update({f"{mode} {outcome}": getattr(counts, outcome) for outcome in OUTCOMES})
    ours = our_modes(sentences, LABELS)
    assert {f"{mode} {o}": getattr(counts, o) for mode, counts in ours.items() for o in OUTCOMES} == dict(total)


def add(one: ModeCounts, other: ModeCounts) -> ModeCounts:
    return ModeCounts(*map(sum, zip(astuple(one), astuple(other), strict=True)))


def test_modes_equal_nervaluate_on_real_documents(flat_sentences):
    sentences, labels = flat_sentences
    summed = {mode: ModeCounts() for mode in MODES}
    for item in sentences[:700]:
        theirs = nervaluate(item.record.gold, entities_of(item), labels)
        summed = {mode: add(summed[mode], theirs[mode]) for mode in MODES}
    assert our_modes(sentences[:700], labels) == summed


def test_a_prediction_must_cover_a_hundredth_of_the_gold_mention():
    text = "甲" * 300
    for gold_length in (99, 100, 101, 200, 201):
        gold, predicted = [Entity(0, gold_length, "a", text[:gold_length])], [Entity(gold_length - 1, 300, "a", "")]
        assert our_modes([placed(gold, predicted, text)], LABELS) == nervaluate(gold, predicted, LABELS)


def test_one_partial_match_and_two_of_them_score_the_same():
    text = "甲乙丙丁"
    item = placed([Entity(0, 4, "a", text)], [Entity(0, 3, "a", text[:3])], text)
    assert our_modes([item], LABELS)["partial"].f1 == our_modes([item] * 2, LABELS)["partial"].f1 == 0.5


def test_mentions_that_are_not_in_the_text_are_spurious_in_every_mode():
    record = Record("r", "甲乙", (Entity(0, 1, "a", "甲"),))
    item = Answered(record, "", Parsed((Mention("a", "丁"), Mention("a", "甲"))), (None, (0, 1)), False)
    assert set(our_modes([item], LABELS).values()) == {ModeCounts(correct=1, spurious=1)}


def official(sentences: Sequence[Answered], labels: Sequence[str]) -> float:
    """CLUENER's rule in our words: per label, compare each sentence's sets of surfaces; then the mean over labels."""
    scores = []
    for label in labels:
        hits = claimed = wanted = 0
        for item in sentences:
            predicted = {m.text for m in item.parsed.mentions if m.label == label}
            gold = {e.text for e in item.record.gold if e.label == label}
            hits, claimed, wanted = hits + len(predicted & gold), claimed + len(predicted), wanted + len(gold)
        precision, recall = hits / claimed if claimed else 0.0, hits / wanted if wanted else 0.0
        scores.append(2 * precision * recall / (precision + recall) if hits else 0.0)
    return sum(scores) / len(labels)


def test_official_equals_the_rule_restated(flat_sentences):
    sentences, labels = flat_sentences
    for some in (sentences, sentences[:1], sentences[:7]):
        ours = by_label(tally_text(mention_arrays(some, labels)), labels)
        assert macro(ours, labels)[2] == pytest.approx(official(some, labels), abs=1e-12)


def test_gold_as_its_own_answer_is_perfect_in_text_and_loses_one_span(real_corpus):
    """The loss when surfaces, in order of position, are mapped back to the offsets of CLUENER dev."""
    records, labels = real_corpus("cluener")
    answered = []
    for record in records:
        mentions = tuple(Mention(e.label, e.text) for e in record.gold)
        answered.append(Answered(record, "", Parsed(mentions), tuple(align(mentions, record.text)), False))
    table = mention_arrays(answered, labels)
    assert micro(by_label(tally_text(table), labels)) == Counts(tp=2982)
    assert micro(by_label(tally_span(table), labels)) == Counts(tp=3071, fp=1, fn=1)
