"""Runs compared with the first of them, on the same sentences.

Each resample draws sentences, and with them the answers of both runs (paired bootstrap). ``p`` is two-sided: twice the
share of resamples in which the difference has the other sign, or is zero. It is not corrected for the number of runs.

A ``scores.json`` can stand in for a run whose answers are not here: it has counts but no sentences, so there is no
significance.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ner_common.errors import UserError, rooted
from ner_eval.metrics import bootstrap
from ner_eval.metrics.loaded_run import LoadedRun, load_run
from ner_eval.metrics.protocols import Protocol, by_label
from ner_eval.metrics.results import READINGS, Scores, score_run, sentence_tally
from ner_eval.metrics.scores_file import read_scores


@dataclass(frozen=True, slots=True)
class Difference:
    """A run's headline F1 minus the first run's, its 95 % interval, two-sided p."""

    f1: float
    low: float
    high: float
    p: float


@dataclass(frozen=True, slots=True)
class ComparedRun:
    """A run in a comparison; ``difference`` is None for the first, and if there are no sentences to pair."""

    name: str
    scores: Scores
    difference: Difference | None


@dataclass(frozen=True, slots=True)
class Comparison:
    """Runs in the order given, and the number of sentences they share (None if one of them is a scores file)."""

    protocol: Protocol
    reading: str
    runs: tuple[ComparedRun, ...]
    sentences: int | None


def compare_runs(
    named: Sequence[str | Path], protocol: str, reading: str, *, partial: bool = False, **loading: Any
) -> Comparison:
    """Score runs on the sentences that all of them answered; ``loading`` is passed to `load_run`.

    Raises:
        UserError: see `load_run` and `read_scores`; or the runs differ in gold, labels or sentences.
    """
    # A Path is never a name in runs/, whatever it looks like.
    names = [name if isinstance(name, str) else str(name.absolute()) for name in named]
    if len(names) < 2:
        raise UserError("one run cannot be compared; name two or more")
    for given, allowed in ((protocol, list(by_label())), (reading, list(READINGS))):
        if given not in allowed:
            raise UserError(f"{given}: runs cannot be compared by that; use {' or '.join(allowed)}")
    chosen = by_label()[protocol]
    if any(name.endswith(".json") for name in names):
        runs = [_counted(name, partial=partial, **loading) for name in names]
        scores = [item.scores for item in runs]
        _check_same([s.gold_sha256 for s in scores], [set(s.labels) for s in scores], names)
        return Comparison(chosen, reading, tuple(runs), None)
    loaded = [load_run(name, partial=partial, **loading) for name in names]
    check_same(loaded)
    return compare_loaded(common(loaded, partial), chosen, reading)


def compare_loaded(runs: Sequence[LoadedRun], protocol: Protocol, reading: str) -> Comparison:
    """Score runs over the same sentences, each against the first on the same resamples."""
    drawn = bootstrap.resample([sentence_tally(run, protocol, reading) for run in runs])
    if protocol.average == "macro":
        f1 = [bootstrap.macro_f1(counts, len(runs[0].labels)) for counts in drawn]
    else:
        f1 = [bootstrap.micro_f1(counts) for counts in drawn]
    scores = [score_run(run) for run in runs]
    headlines = [s.headline(protocol, reading) for s in scores]
    compared = [ComparedRun(runs[0].name, scores[0], None)]
    for number in range(1, len(runs)):
        difference = _difference(headlines[number] - headlines[0], f1[number] - f1[0])
        compared.append(ComparedRun(runs[number].name, scores[number], difference))
    return Comparison(protocol, reading, tuple(compared), len(runs[0].answered))


def common(runs: Sequence[LoadedRun], partial: bool) -> list[LoadedRun]:
    """Keep the sentences that every run answered.

    Raises:
        UserError: there are other sentences and ``partial`` is false, or there is none in common.
    """
    ids = [{item.record.id for item in run.answered} for run in runs]
    shared, every = set.intersection(*ids), set.union(*ids)
    if shared != every and not partial:
        lacking = ", ".join(
            f"{_unique_name(run, runs)} lacks {len(every - own)} of {len(every)}"
            for run, own in zip(runs, ids, strict=True)
            if own != every
        )
        problem = f"{len(every - shared)} sentences are not answered in every run: {lacking}"
        raise UserError(f"{problem}; predict them, or compare the {len(shared)} that all have with --partial")
    if not shared:
        raise UserError("the runs have no sentence in common; predict the same selection")
    return [replace(r, answered=tuple(item for item in r.answered if item.record.id in shared)) for r in runs]


def _unique_name(run: LoadedRun, runs: Sequence[LoadedRun]) -> str:
    return rooted(run.folder) if sum(other.name == run.name for other in runs) > 1 else run.name


def _counted(name: str, **loading: Any) -> ComparedRun:
    if name.endswith(".json"):
        path = Path(name)
        return ComparedRun(path.parent.name or rooted(path), read_scores(path), None)
    run = load_run(name, **loading)
    return ComparedRun(run.name, score_run(run), None)


def check_same(runs: Sequence[LoadedRun]) -> None:
    """Check that runs can be compared.

    Raises:
        UserError: they have different gold files or labels.
    """
    names = [run.name for run in runs]
    _check_same([run.manifest.gold_sha256 for run in runs], [set(run.labels) for run in runs], names)


def _check_same(gold: Sequence[str], labels: Sequence[set[str]], names: Sequence[str]) -> None:
    for number in range(1, len(names)):
        if gold[number] != gold[0]:
            raise UserError(f"{names[number]}: has a different gold file from {names[0]}; compare runs of one split")
        if labels[number] != labels[0]:
            raise UserError(f"{names[number]}: has different labels from {names[0]}; they cannot be compared")


def _difference(f1: float, resampled: bootstrap.Floats) -> Difference:
    # Counting the run itself as one resample keeps p above 0, which a finite number of resamples cannot show.
    crossed = min(int((resampled <= 0).sum()), int((resampled >= 0).sum())) + 1
    p = min(1.0, 2 * crossed / (len(resampled) + 1))
    return Difference(f1, *bootstrap.interval(resampled), p)
