"""Runs side by side: ``ner-eval compare RUN RUN…``, every run against the first.

Two runs are compared on the same sentences: each resample draws sentences, and with them the answers of both runs
(paired bootstrap). ``p`` is two-sided: twice the share of resamples in which the difference has the other sign, or is
zero. It is not corrected for the number of runs.

A ``scores.json`` may stand for a run whose answers are elsewhere: it has counts, but no sentences, so no significance.
"""

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from ner_data.errors import UserError, rooted
from ner_eval import load
from ner_eval.load import Loaded
from ner_eval.score import counts_of, table
from ner_eval.scores import READINGS, Scores, macro, micro, read_scores

if TYPE_CHECKING:
    from ner_eval.bootstrap import Floats

PROTOCOLS = {
    "text": "text, Micro Avg. F1",
    "span": "span, Micro Avg. F1",
    "official": "official CLUENER (protocol text, Macro Avg. F1)",
}


@dataclass(frozen=True, slots=True)
class Difference:
    """What a run has over the first: difference of the headline F1, its 95 % interval, two-sided p."""

    f1: float
    low: float
    high: float
    p: float


@dataclass(frozen=True, slots=True)
class Compared:
    """A run in a comparison; ``difference`` is None for the first, and where there are no sentences to pair."""

    name: str
    scores: Scores
    difference: Difference | None


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("runs", nargs="+", metavar="RUN", help="names in runs/, folders, or scores.json files")
    parser.add_argument("--protocol", choices=PROTOCOLS, default="text", help="default: text")
    parser.add_argument("--reading", choices=READINGS, default="lenient", help="default: lenient")
    load.add_arguments(parser)


def run(args: argparse.Namespace) -> None:
    if len(args.runs) < 2:
        raise UserError("one run has nothing to be compared with; name two or more")
    compared, sentences = compare(args.runs, args)
    for line in describe(compared, sentences, args.protocol, args.reading):
        print(line)


def compare(names: Sequence[str], args: argparse.Namespace) -> tuple[list[Compared], int | None]:
    """Score runs on the sentences that all of them have answered.

    Returns:
        The runs in the order given, and the number of common sentences (None where scores files take part).

    Raises:
        UserError: see `load.load` and `read_scores`; or the runs are of different gold, labels or sentences.
    """
    if any(name.endswith(".json") for name in names):
        return _from_counts(names, args), None
    runs = [load.load(name, args) for name in names]
    check_same(runs)
    runs = common(runs, args.partial)
    return paired(runs, args.protocol, args.reading), len(runs[0].answered)


def paired(runs: Sequence[Loaded], protocol: str, reading: str) -> list[Compared]:
    """Score runs over the same sentences, each against the first on the same resamples."""
    from ner_eval import bootstrap
    from ner_eval.count import count, sentence_tally

    counted = "span" if protocol == "span" else "text"
    drawn = bootstrap.resample([sentence_tally(run, counted, reading) for run in runs])
    labels = len(runs[0].labels)
    f1 = [bootstrap.macro_f1(d, labels) if protocol == "official" else bootstrap.micro_f1(d) for d in drawn]
    scores = [count(run) for run in runs]
    figures = [headline(s, protocol, reading) for s in scores]
    compared = [Compared(runs[0].name, scores[0], None)]
    for number in range(1, len(runs)):
        difference = _difference(figures[number] - figures[0], f1[number] - f1[0])
        compared.append(Compared(runs[number].name, scores[number], difference))
    return compared


def common(runs: Sequence[Loaded], partial: bool) -> list[Loaded]:
    """Keep the sentences that every run has answered.

    Raises:
        UserError: there are others, and ``partial`` does not allow to leave them out; or there is none in common.
    """
    ids = [{item.record.id for item in run.answered} for run in runs]
    shared = set.intersection(*ids)
    others = len(set.union(*ids) - shared)
    if others and not partial:
        raise UserError(f"{others} sentences are not answered in every run; compare the others with --partial")
    if not shared:
        raise UserError("the runs have no sentence in common; predict the same selection")
    return [replace(r, answered=tuple(item for item in r.answered if item.record.id in shared)) for r in runs]


def headline(scores: Scores, protocol: str, reading: str) -> float:
    """The figure that a protocol is known by."""
    by_label = counts_of(scores, protocol, reading)
    return macro(by_label, scores.labels)[2] if protocol == "official" else micro(by_label).f1


def describe(compared: Sequence[Compared], sentences: int | None, protocol: str, reading: str) -> Iterator[str]:
    """The lines that `ner-eval compare` prints."""
    first = compared[0].scores
    where = "" if sentences is None else f", {sentences} sentences"
    yield f"{first.corpus}/{first.split}{where}; protocol: {PROTOCOLS[protocol]}; {reading} reading"
    if sentences is None:
        yield "a scores file takes part: it has no sentences, so there is no significance"
    rows = []
    for item in compared:
        by_label = counts_of(item.scores, protocol, reading)
        total, difference = micro(by_label), item.difference
        shown = (
            [f"{difference.f1:+.4f}", f"[{difference.low:+.4f}, {difference.high:+.4f}]", f"{difference.p:.3f}"]
            if difference
            else ["", "", ""]
        )
        strict = headline(item.scores, protocol, "strict")
        figures = (total.precision, total.recall, total.f1, macro(by_label, item.scores.labels)[2], strict)
        rows.append((item.name, *figures, *shown, item.scores.answers.unparsable))
    figures_of = ["Run", "Precision", "Recall", "Micro F1", "Macro F1", "strict"]
    yield table(rows, [*figures_of, "Difference", "95% interval", "p", "unparsable"])
    yield "\nF1 by label"
    lines = [
        (label, *(counts_of(item.scores, protocol, reading)[label].f1 for item in compared)) for label in first.labels
    ]
    yield table(lines, ["Label", *(item.name for item in compared)])


def _from_counts(names: Sequence[str], args: argparse.Namespace) -> list[Compared]:
    compared = []
    for name in names:
        if name.endswith(".json"):
            path = Path(name)
            compared.append(Compared(path.parent.name or rooted(path), read_scores(path), None))
        else:
            from ner_eval.count import count

            loaded = load.load(name, args)
            compared.append(Compared(loaded.name, count(loaded), None))
    scores = [item.scores for item in compared]
    _check_same([s.gold_sha256 for s in scores], [set(s.labels) for s in scores], names)
    return compared


def check_same(runs: Sequence[Loaded]) -> None:
    """Check that runs can be compared.

    Raises:
        UserError: they were asked different gold files or labels.
    """
    names = [run.name for run in runs]
    _check_same([run.manifest.gold_sha256 for run in runs], [set(run.labels) for run in runs], names)


def _check_same(gold: Sequence[str], labels: Sequence[set[str]], names: Sequence[str]) -> None:
    for number in range(1, len(names)):
        if gold[number] != gold[0]:
            raise UserError(f"{names[number]}: was asked another gold file than {names[0]}; compare runs of one split")
        if labels[number] != labels[0]:
            raise UserError(f"{names[number]}: was asked other labels than {names[0]}; they cannot be compared")


def _difference(f1: float, resampled: "Floats") -> Difference:
    from ner_eval.bootstrap import interval

    # Counting the run itself as one resample keeps p above 0, which no finite number of resamples could show.
    crossed = min(int((resampled <= 0).sum()), int((resampled >= 0).sum())) + 1
    p = min(1.0, 2 * crossed / (len(resampled) + 1))
    return Difference(f1, *interval(resampled), p)
