"""From a loaded run to its scores: every protocol, both readings, the intervals."""

from collections.abc import Sequence
from itertools import chain
from typing import Any

import numpy as np

from ner_eval import bootstrap
from ner_eval.columns import Columns, columns
from ner_eval.load import Answered, Loaded, duplicates
from ner_eval.modes import MODES, count_modes, count_modes_by_label
from ner_eval.scores import OTHER_LABELS, READINGS, Answers, Counts, MentionCounts, ModeCounts, Reading, Scores
from ner_eval.tally import Tally, tally_span, tally_text


def count(run: Loaded, intervals: bool = True) -> Scores:
    """Count a run's hits and misses; with 95 % intervals, unless told otherwise."""
    table = columns(run.answered, run.labels)
    tables = dict(zip(READINGS, (table, table.strict()), strict=True))
    # Where every answer has the exact form, both readings are one, and so is the work.
    same = bool(table.exact.all())
    readings: dict[str, Reading] = {}
    spread: dict[str, Any] = {"level": bootstrap.LEVEL, "resamples": bootstrap.RESAMPLES, "seed": bootstrap.SEED}
    for name, part in tables.items():
        if same and readings:
            readings[name], spread[name] = readings[READINGS[0]], spread.get(READINGS[0])
            continue
        tallies = {"text": tally_text(part), "span": tally_span(part)}
        readings[name] = _reading(part, tallies, run.labels, _mentions(run.answered, run.labels, name == "strict"))
        if intervals:
            spread[name] = {protocol: _intervals(tally, len(run.labels)) for protocol, tally in tallies.items()}
    manifest = run.manifest
    head = (manifest.model, manifest.corpus, manifest.split, manifest.gold_sha256, manifest.prompt.fingerprint)
    return Scores(*head, run.labels, _answers(run), readings, spread if intervals else {})


def _reading(table: Columns, tallies: dict[str, Tally], labels: Sequence[str], mentions: MentionCounts) -> Reading:
    names = (*labels, OTHER_LABELS)
    text, span = (
        {name: Counts(*row) for name, row in zip(names, tally.sum(axis=0).tolist(), strict=True)}
        for tally in tallies.values()
    )
    by_label = {name: _by_mode(rows.tolist()) for name, rows in zip(names, count_modes_by_label(table), strict=True)}
    return Reading(mentions, text, span, _by_mode(count_modes(table).tolist()), by_label)


def _by_mode(rows: list[list[int]]) -> dict[str, ModeCounts]:
    return {mode: ModeCounts(*row) for mode, row in zip(MODES, rows, strict=True)}


def _intervals(tally: Tally, labels: int) -> dict[str, tuple[float, float]]:
    (drawn,) = bootstrap.resample([tally])
    return {
        "micro": bootstrap.interval(bootstrap.micro_f1(drawn)),
        "macro": bootstrap.interval(bootstrap.macro_f1(drawn, labels)),
    }


def _answers(run: Loaded) -> Answers:
    problems = [problem for item in run.answered for problem in item.parsed.problems]
    named = {name: problems.count(name) for name in ("unparsable", "inexact", "bad_item")}
    cut = sum(item.cut for item in run.answered)
    return Answers(len(run.answered), run.missing, run.without_gold, **named, cut=cut)


def _mentions(answered: Sequence[Answered], labels: Sequence[str], strict: bool) -> MentionCounts:
    known = frozenset(labels)
    read = [item for item in answered if not (strict and item.parsed.problems)]
    return MentionCounts(
        predicted=sum(len(item.parsed.mentions) for item in read),
        gold=sum(len(item.record.gold) for item in answered),
        hallucinated=sum(span is None for item in read for span in item.spans),
        unknown_label=sum(mention.label not in known for item in read for mention in item.parsed.mentions),
        duplicated=sum(chain.from_iterable(duplicates(item) for item in read if len(item.spans) > 1)),
    )


def sentence_tally(run: Loaded, protocol: str, reading: str) -> Tally:
    """The counts of every sentence, for resampling: shape (sentences, labels + 1, 3)."""
    table = columns(run.answered, run.labels)
    counted = {"text": tally_text, "span": tally_span}[protocol](table.strict() if reading == "strict" else table)
    return np.asarray(counted)
