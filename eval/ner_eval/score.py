"""Score stored answers: ``ner-eval score RUN`` prints the label table and writes the counts to ``scores.json``."""

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ner_common.errors import rooted
from ner_eval.arguments import add_threshold_arguments, wanted_scores
from ner_eval.confidence.trust import Wanted
from ner_eval.metrics.judged import judge
from ner_eval.metrics.loaded_run import load_run
from ner_eval.metrics.protocols import PROTOCOLS
from ner_eval.metrics.results import READINGS, SCORES, Scores, score_run
from ner_eval.reporting.confidence import describe_confidence
from ner_eval.reporting.terminal import describe_scores
from ner_eval.run_arguments import add_run_arguments, loading
from ner_eval.runs.manifest import read_manifest, run_folder


def score(
    run: str | Path, *, gold: Path | None = None, partial: bool = False, allow_other_labels: bool = False
) -> Scores:
    """Count a run's hits and misses, and write them to its ``scores.json``.

    Arguments and errors are those of `load_run`.
    """
    loaded = load_run(run, gold=gold, partial=partial, allow_other_labels=allow_other_labels)
    scores = score_run(loaded)
    scores.save(loaded.folder / SCORES)
    return scores


def scores_worth(run: str | Path, wanted: Wanted, **loading: Any) -> Iterator[str]:
    """Lines on what the scores of a run's entities are worth, and what is lost if only some are kept; none without.

    Arguments and errors are those of `load_run` and `judge`.
    """
    if not (wanted or read_manifest(run_folder(run)).sampling.get("logprobs")):
        return
    judged = judge(load_run(run, **loading), wanted)
    yield from describe_confidence(judged) if judged else ()


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", help="a name in runs/, or a folder")
    parser.add_argument(
        "--protocol",
        choices=[*PROTOCOLS, "all"],
        default="text",
        help="the table to print: how mentions are compared with gold (default: text)",
    )
    parser.add_argument(
        "--reading",
        choices=READINGS,
        default="lenient",
        help="whether an answer whose form is wrong counts with its complete items, or not at all (default: lenient)",
    )
    add_run_arguments(parser)
    add_threshold_arguments(parser)


def run(args: argparse.Namespace) -> None:
    worth = list(scores_worth(args.run, wanted_scores(args), **loading(args)))  # before anything is written
    scores = score(args.run, **loading(args))
    protocols = list(PROTOCOLS) if args.protocol == "all" else [args.protocol]
    folder = run_folder(args.run)
    for line in describe_scores(scores, folder.name, protocols, args.reading):
        print(line)
    for line in ["", *worth] if worth else []:
        print(line)
    print(f"counts: {rooted(folder / SCORES)}")
