"""From a loaded run to its `Scores`, and the file ``scores.json`` that holds them: counts; ratios are derived.

::

    {"version": 1, "model": "nano-lora", "corpus": "demo", "split": "test", "gold_sha256": "…", "prompt": "…",
     "selection": {"limit": null, "sample": null, "seed": null}, "labels": ["name", "company"],
     "answers": {"scored": 200, "missing": 0, "without_gold": 0, "unparsable": 3, "inexact": 5, …, "refused": 1},
     "readings": {
       "lenient": {"mentions": {"predicted": 498, "gold": 501, "hallucinated": 4, …},
                   "text": {"name": {"tp": 90, "fp": 7, "fn": 11}, …, "": {…}},
                   "span": {…},
                   "modes": {"strict": {"correct": 402, "incorrect": 61, "missed": 38, …}, …}},
       "strict": {…}},
     "intervals": {"level": 0.95, "resamples": 1000, "seed": 0, "lenient": {"text": {"micro": [0.79, 0.84], …}}}}

Readings: lenient parsing keeps the complete items of an answer that does not match the form exactly (a code fence, a
truncated list); strict parsing takes no mentions from such an answer. The label "" is all labels outside the set.
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from msgspec import Meta, Struct
from msgspec.structs import asdict

from ner_common.decoding import convert
from ner_common.errors import UserError, one_line
from ner_common.files import write_json
from ner_eval.metrics import bootstrap
from ner_eval.metrics.counts import Count, Counts, ModeCounts, macro, micro
from ner_eval.metrics.loaded_run import Answered, LoadedRun, duplicates
from ner_eval.metrics.mention_arrays import MentionArrays, mention_arrays
from ner_eval.metrics.modes import MODES, count_modes
from ner_eval.metrics.protocols import Protocol, Tally, tallies
from ner_eval.runs.manifest import Selection

VERSION = 1
SCORES = "scores.json"
READINGS = ("lenient", "strict")
OTHER_LABELS = ""


class Answers(Struct, frozen=True, forbid_unknown_fields=True):
    """Number of answers: scored (records with gold and an answer), missing, for records without gold.

    And of the scored ones: unparsable, inexact (items found, but not exactly in the form), bad_item, cut (truncated by
    max_tokens), refused by the server (scored as an answer without mentions).
    """

    scored: Count = 0
    missing: Count = 0
    without_gold: Count = 0
    unparsable: Count = 0
    inexact: Count = 0
    bad_item: Count = 0
    cut: Count = 0
    refused: Count = 0  # not in files of earlier versions


class MentionCounts(Struct, frozen=True, forbid_unknown_fields=True):
    """Mentions in answers and in gold; of those in answers: hallucinated (surface not in the text), with a label
    outside the set, duplicated (label and span given before in the same answer)."""

    predicted: Count = 0
    gold: Count = 0
    hallucinated: Count = 0
    unknown_label: Count = 0
    duplicated: Count = 0


class Reading(Struct, frozen=True):
    """The counts under one reading of the answers: by protocol (``counted_as``) and label, and by nervaluate mode."""

    mentions: MentionCounts
    counts: dict[str, dict[str, Counts]]
    modes: dict[str, ModeCounts]

    def as_json(self) -> dict[str, Any]:
        counts = {key: {label: asdict(c) for label, c in by_label.items()} for key, by_label in self.counts.items()}
        return {
            "mentions": asdict(self.mentions),
            **counts,
            "modes": {mode: asdict(c) for mode, c in self.modes.items()},
        }

    @classmethod
    def from_json(cls, value: Any) -> "Reading":
        """Read one reading's counts; a protocol that is not in the file is left out, and
        ``modes_by_label`` of older files is ignored.

        Raises:
            ValueError: it is not of that form.
        """
        value = dict(convert(value, dict[str, Any]))
        value.pop("modes_by_label", None)
        mentions = convert(value.pop("mentions", None), MentionCounts)
        modes = convert(value.pop("modes", None), dict[str, ModeCounts])
        if unknown := value.keys() - tallies().keys():
            raise ValueError(f"has the unknown protocol {one_line(min(unknown), 40)}")
        return cls(mentions, convert(value, dict[str, dict[str, Counts]]), modes)


class Scores(Struct, frozen=True, forbid_unknown_fields=True):
    """The counts of a run; ``prompt`` is the prompt spec's fingerprint."""

    model: Annotated[str, Meta(min_length=1)]
    corpus: Annotated[str, Meta(min_length=1)]
    split: Annotated[str, Meta(min_length=1)]
    gold_sha256: str
    prompt: str
    selection: Selection
    labels: Annotated[tuple[Annotated[str, Meta(min_length=1)], ...], Meta(min_length=1)]
    answers: Answers
    readings: dict[str, Reading]
    intervals: dict[str, Any] = {}

    def counts(self, protocol: Protocol, reading: str) -> dict[str, Counts]:
        """Hits and misses by label of a protocol that counts by label.

        Raises:
            UserError: the scores were written before that protocol was added.
        """
        counts = self.readings[reading].counts
        if protocol.counted_as not in counts:
            raise UserError(f"{self.model}: its scores have no protocol {protocol.name}; run `ner-eval score` again")
        return counts[protocol.counted_as]

    def headline(self, protocol: Protocol, reading: str) -> float:
        """A protocol's headline F1."""
        by_label = self.counts(protocol, reading)
        return macro(by_label, self.labels)[2] if protocol.average == "macro" else micro(by_label).f1

    def save(self, path: Path) -> None:
        readings = {name: reading.as_json() for name, reading in self.readings.items()}
        value = {"version": VERSION, **asdict(self), "answers": asdict(self.answers), "readings": readings}
        write_json(path, value)


def score_run(run: LoadedRun) -> Scores:
    """Count a run's hits and misses under every protocol, for both readings, with 95 % intervals."""
    lenient = mention_arrays(run.answered, run.labels)
    # If every answer matches the form exactly, both readings are the same and are counted once.
    arrays = [lenient] if lenient.exact.all() else [lenient, lenient.strict()]
    tallied = [{key: tally(table) for key, tally in tallies().items()} for table in arrays]
    spread = _intervals(tallied, len(run.labels))
    intervals: dict[str, Any] = {
        "level": bootstrap.LEVEL,
        "resamples": bootstrap.RESAMPLES,
        "seed": bootstrap.SEED,
    }
    readings: dict[str, Reading] = {}
    for number, (name, mentions) in enumerate(zip(READINGS, _mentions(run.answered, run.labels), strict=True)):
        index = min(number, len(arrays) - 1)
        readings[name] = _reading(arrays[index], tallied[index], run.labels, mentions)
        intervals[name] = spread[index]
    manifest = run.manifest
    head = (manifest.model, manifest.corpus, manifest.split, manifest.gold_sha256, manifest.prompt.fingerprint)
    return Scores(*head, manifest.selection, run.labels, _answers(run), readings, intervals)


def sentence_tally(run: LoadedRun, protocol: Protocol, reading: str) -> Tally:
    """The counts of every sentence, for resampling: shape (sentences, labels + 1, 3).

    Raises:
        ValueError: the protocol does not count by label.
    """
    if protocol.tally is None:
        raise ValueError(f"{protocol.title} has no counts by label")
    arrays = mention_arrays(run.answered, run.labels)
    return np.asarray(protocol.tally(arrays.strict() if reading == "strict" else arrays))


def _reading(
    arrays: MentionArrays, tallied: Mapping[str, Tally], labels: Sequence[str], mentions: MentionCounts
) -> Reading:
    names = (*labels, OTHER_LABELS)
    counts = {
        key: {name: Counts(*row) for name, row in zip(names, tally.sum(axis=0).tolist(), strict=True)}
        for key, tally in tallied.items()
    }
    modes = {mode: ModeCounts(*row) for mode, row in zip(MODES, count_modes(arrays).tolist(), strict=True)}
    return Reading(mentions, counts, modes)


def _intervals(tallied: Sequence[Mapping[str, Tally]], labels: int) -> list[dict[str, dict[str, tuple[float, float]]]]:
    """Intervals of every tally, all on the same draws."""
    drawn = iter(bootstrap.resample([tally for protocols in tallied for tally in protocols.values()]))
    spreads = []
    for protocols in tallied:
        spread = {}
        for key in protocols:
            sums = next(drawn)
            micro_f1, macro_f1 = bootstrap.micro_f1(sums), bootstrap.macro_f1(sums, labels)
            spread[key] = {"micro": bootstrap.interval(micro_f1), "macro": bootstrap.interval(macro_f1)}
        spreads.append(spread)
    return spreads


def _answers(run: LoadedRun) -> Answers:
    problems = [problem for item in run.answered for problem in item.parsed.problems]
    named = {name: problems.count(name) for name in ("unparsable", "inexact", "bad_item")}
    cut = sum(item.cut for item in run.answered)
    refused = sum(bool(item.error) for item in run.answered)
    return Answers(len(run.answered), run.missing, run.without_gold, **named, cut=cut, refused=refused)


def _mentions(answered: Iterable[Answered], labels: Sequence[str]) -> tuple[MentionCounts, MentionCounts]:
    """The counts of the lenient reading and of the strict one, which skips answers with problems."""
    known = frozenset(labels)
    exact, other = [0] * 4, [0] * 4
    gold = 0
    for item in answered:
        gold += len(item.record.gold)
        if not item.spans:
            continue
        row = other if item.parsed.problems else exact
        row[0] += len(item.spans)
        row[1] += item.spans.count(None)
        for mention in item.parsed.mentions:
            row[2] += mention.label not in known
        if len(item.spans) > 1:
            row[3] += sum(duplicates(item))
    every = [one + two for one, two in zip(exact, other, strict=True)]
    lenient, strict = (MentionCounts(row[0], gold, *row[1:]) for row in (every, exact))
    return lenient, strict
