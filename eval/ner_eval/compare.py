"""Compare runs in one table: ``ner-eval compare RUN RUN…``, each against the first, with significance."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from ner_eval.metrics.comparison import Comparison, compare_runs
from ner_eval.metrics.protocols import by_label
from ner_eval.metrics.results import READINGS
from ner_eval.reporting.terminal import describe_comparison
from ner_eval.run_arguments import add_run_arguments, loading


def compare(
    runs: Sequence[str | Path],
    *,
    protocol: str = "text",
    reading: str = "lenient",
    gold: Path | None = None,
    partial: bool = False,
    allow_other_labels: bool = False,
) -> Comparison:
    """Score runs on the sentences that all of them answered, each against the first.

    Args:
        runs: names in ``runs/``, folders, or ``scores.json`` files (which have no sentences, so no significance).
        protocol: one of those that count by label: text, span, official.
        reading: lenient or strict.
        gold, partial, allow_other_labels: as for `load_run`.

    Raises:
        UserError: fewer than two runs; a run cannot be loaded; they have different gold, labels or sentences.
    """
    return compare_runs(runs, protocol, reading, gold=gold, partial=partial, allow_other_labels=allow_other_labels)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("runs", nargs="+", metavar="RUN", help="names in runs/, folders, or scores.json files")
    parser.add_argument(
        "--protocol", choices=by_label(), default="text", help="how mentions are compared with gold (default: text)"
    )
    parser.add_argument(
        "--reading",
        choices=READINGS,
        default="lenient",
        help="whether an answer whose form is wrong counts with its complete items, or not at all (default: lenient)",
    )
    add_run_arguments(parser)


def run(args: argparse.Namespace) -> None:
    for line in describe_comparison(compare(args.runs, protocol=args.protocol, reading=args.reading, **loading(args))):
        print(line)
