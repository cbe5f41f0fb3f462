"""From a loaded run to its scores: every protocol, both readings, the intervals."""

from collections.abc import Sequence
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
    lenient = columns(run.answered, run.labels)
    # Where every answer has the exact form, both readings are one, and so is the work.
    tables = [lenient] if lenient.exact.all() else [lenient, lenient.strict()]
    tallies = [{"text": tally_text(table), "span": tally_span(table)} for table in tables]
    spread = _intervals(tallies, len(run.labels)) if intervals else []
    readings: dict[str, Reading] = {}
    spreads: dict[str, Any] = {}
    for number, (name, mentions) in enumerate(zip(READINGS, _mentions(run.answered, run.labels), strict=True)):
        index = min(number, len(tables) - 1)
        readings[name] = _reading(tables[index], tallies[index], run.labels, mentions)
        if intervals:
            spreads[name] = spread[index]
    if intervals:
        spreads |= {"level": bootstrap.LEVEL, "resamples": bootstrap.RESAMPLES, "seed": bootstrap.SEED}
    manifest = run.manifest
    head = (manifest.model, manifest.corpus, manifest.split, manifest.gold_sha256, manifest.prompt.fingerprint)
    return Scores(*head, manifest.selection, run.labels, _answers(run), readings, spreads)


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


def _intervals(tallies: list[dict[str, Tally]], labels: int) -> list[dict[str, dict[str, tuple[float, float]]]]:
    """Intervals of every tally, all on the same draws."""
    drawn = iter(bootstrap.resample([tally for protocols in tallies for tally in protocols.values()]))
    spreads = []
    for protocols in tallies:
        spread = {}
        for protocol in protocols:
            sums = next(drawn)
            micro, macro = bootstrap.micro_f1(sums), bootstrap.macro_f1(sums, labels)
            spread[protocol] = {"micro": bootstrap.interval(micro), "macro": bootstrap.interval(macro)}
        spreads.append(spread)
    return spreads


def _answers(run: Loaded) -> Answers:
    problems = [problem for item in run.answered for problem in item.parsed.problems]
    named = {name: problems.count(name) for name in ("unparsable", "inexact", "bad_item")}
    cut = sum(item.cut for item in run.answered)
    return Answers(len(run.answered), run.missing, run.without_gold, **named, cut=cut)


def _mentions(answered: Sequence[Answered], labels: Sequence[str]) -> tuple[MentionCounts, MentionCounts]:
    """The counts of the lenient and of the strict reading, which passes over answers that have problems."""
    known = frozenset(labels)
    exact, other = [0] * 4, [0] * 4
    for item in answered:
        if not item.spans:
            continue
        row = other if item.parsed.problems else exact
        row[0] += len(item.spans)
        row[1] += item.spans.count(None)
        for mention in item.parsed.mentions:
            row[2] += mention.label not in known
        if len(item.spans) > 1:
            row[3] += sum(duplicates(item))
    gold = sum(len(item.record.gold) for item in answered)
    strict = MentionCounts(exact[0], gold, *exact[1:])
    return strict + MentionCounts(other[0], 0, *other[1:]), strict


def sentence_tally(run: Loaded, protocol: str, reading: str) -> Tally:
    """The counts of every sentence, for resampling: shape (sentences, labels + 1, 3)."""
    table = columns(run.answered, run.labels)
    counted = {"text": tally_text, "span": tally_span}[protocol](table.strict() if reading == "strict" else table)
    return np.asarray(counted)
