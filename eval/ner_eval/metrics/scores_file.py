"""Reading a ``scores.json`` that another machine or an earlier version wrote (its form: `ner_eval.metrics.results`).

Counts depend on each other. A file in which they do not add up was edited or damaged, and is refused: it would give a
wrong figure without a word.
"""

from pathlib import Path
from typing import Annotated, Any

from msgspec import Meta, Struct
from msgspec.structs import asdict

from ner_common.decoding import convert
from ner_common.errors import UserError, one_line, rooted
from ner_common.files import read_json
from ner_eval.metrics.counts import Counts, micro
from ner_eval.metrics.modes import MODES
from ner_eval.metrics.protocols import SPAN, TEXT, tallies
from ner_eval.metrics.results import OTHER_LABELS, READINGS, VERSION, Reading, Scores
from ner_eval.runs.manifest import check_plain, check_selection

Ratio = Annotated[float, Meta(ge=0, le=1)]


class _Spread(Struct, frozen=True, forbid_unknown_fields=True):
    micro: tuple[Ratio, Ratio]
    macro: tuple[Ratio, Ratio]


class Intervals(Struct, frozen=True, forbid_unknown_fields=True):
    level: Annotated[float, Meta(gt=0, lt=1)]
    resamples: Annotated[int, Meta(ge=1)]
    seed: int
    lenient: dict[str, _Spread]
    strict: dict[str, _Spread]


class _WithIntervals(Struct):
    intervals: Intervals


def read_scores(path: Path) -> Scores:
    """Read a ``scores.json``.

    Raises:
        UserError: it is missing, not a scores file, of another version, or its counts do not add up.
    """
    remedy = "run `ner-eval score RUN` to write it again"
    value = read_json(path, remedy)
    if not isinstance(value, dict) or "version" not in value:
        raise UserError(f"{rooted(path)}: not a scores file; {remedy}")
    version = value.pop("version")
    if version != VERSION or isinstance(version, bool | float):
        raise UserError(f"{rooted(path)}: version {one_line(version)}, this program reads version {VERSION}; {remedy}")
    try:
        readings = convert(value.get("readings"), dict[str, Any])
        value["readings"] = {name: Reading.from_json(counts) for name, counts in readings.items()}
        scores = convert(value, Scores)
        for name, counts in readings.items():
            stored = {key: by_label for key, by_label in counts.items() if key != "modes_by_label"}
            _require(scores.readings[name].as_json() == stored, f"readings.{name}: a count is missing")
        missing = asdict(scores.answers).keys() - value["answers"].keys() - {"refused"}
        _require(not missing, f"answers: lacks {', '.join(sorted(missing))}")
        _check(scores)
    except ValueError as error:
        raise UserError(f"{rooted(path)}: incomplete or edited ({error}); {remedy}") from None
    return scores


def _check(scores: Scores) -> None:
    """Raises:
    ValueError: a count contradicts another.
    """
    for name in ("model", "corpus", "split"):
        check_plain(name, getattr(scores, name))
    check_selection(scores.selection)
    _require(len(set(scores.labels)) == len(scores.labels), "labels: one of them is a duplicate")
    answers = scores.answers
    for name in ("unparsable", "inexact", "bad_item", "cut", "refused"):
        _require(getattr(answers, name) <= answers.scored, f"answers.{name}: more than were scored")
    _require(answers.scored > 0, "answers.scored: none")
    _require(scores.readings.keys() == set(READINGS), f"readings: expected {' and '.join(READINGS)}")
    for name, reading in scores.readings.items():
        _check_reading(reading, {*scores.labels, OTHER_LABELS}, f"readings.{name}")
    lenient, strict = (scores.readings[name] for name in READINGS)
    _check_subset(lenient, strict)
    if scores.intervals:
        _check_intervals(convert({"intervals": scores.intervals}, _WithIntervals).intervals)


def _check_reading(reading: Reading, labels: set[str], where: str) -> None:
    mentions = reading.mentions
    for name in ("hallucinated", "unknown_label", "duplicated"):
        _require(getattr(mentions, name) <= mentions.predicted, f"{where}.mentions.{name}: more than predicted")
    for key, by_label in reading.counts.items():
        _require(by_label.keys() == labels, f"{where}.{key}: does not have the labels of the run")
        _require(not _gold(by_label[OTHER_LABELS]), f"{where}.{key}: gold with a label outside the set")
        total = micro(by_label)
        gold, predicted = _gold(total), total.tp + total.fp
        every = key == SPAN.counted_as  # the others count some mentions only
        _require(gold == mentions.gold if every else gold <= mentions.gold, f"{where}.{key}: gold does not add up")
        _require(
            predicted == mentions.predicted if every else predicted <= mentions.predicted,
            f"{where}.{key}: predictions do not add up",
        )
    _require(reading.modes.keys() == set(MODES), f"{where}.modes: expected {', '.join(MODES)}")
    for mode, c in reading.modes.items():
        met = c.correct + c.incorrect + c.partial
        _require(met + c.missed == mentions.gold, f"{where}.modes.{mode}: gold does not add up")
        _require(met + c.spurious == mentions.predicted, f"{where}.modes.{mode}: predictions do not add up")
        _require(not (c.incorrect if mode == "partial" else c.partial), f"{where}.modes.{mode}: an impossible outcome")


def _check_subset(lenient: Reading, strict: Reading) -> None:
    """Strict parsing leaves out whole answers; gold is the same."""
    for name in ("predicted", "hallucinated", "unknown_label", "duplicated"):
        fits = getattr(strict.mentions, name) <= getattr(lenient.mentions, name)
        _require(fits, f"readings.strict.mentions.{name}: more than with lenient parsing")
    _require(strict.counts.keys() == lenient.counts.keys(), "readings: not the same protocols")
    for key, by_label in lenient.counts.items():
        for label, counts in by_label.items():
            other = strict.counts[key][label]
            where = f"readings.strict.{key}.{one_line(label, 40)}"
            _require(_gold(other) == _gold(counts), f"{where}: gold differs between the readings")
            _require(other.tp <= counts.tp and other.fp <= counts.fp, f"{where}: more than with lenient parsing")
    for reading in (lenient, strict):
        if {TEXT.counted_as, SPAN.counted_as} <= reading.counts.keys():
            text, span = (reading.counts[protocol.counted_as] for protocol in (TEXT, SPAN))
            fits = all(_gold(text[label]) <= _gold(span[label]) for label in text)
            _require(fits, "readings: more distinct mentions than mentions")


def _check_intervals(intervals: Intervals) -> None:
    for reading in (intervals.lenient, intervals.strict):
        for key, spread in reading.items():
            _require(key in tallies(), f"intervals: the unknown protocol {one_line(key, 40)}")
            for low, high in (spread.micro, spread.macro):
                _require(low <= high, f"intervals.{key}: the lower end is above the upper end")


def _gold(counts: Counts) -> int:
    return counts.tp + counts.fn


def _require(fits: bool, problem: str) -> None:
    if not fits:
        raise ValueError(problem)
