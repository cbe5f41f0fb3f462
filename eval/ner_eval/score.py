"""Score stored answers: ``ner-eval score RUN`` prints the label table and writes the counts to ``scores.json``."""

import argparse
from pathlib import Path

from ner_common.errors import rooted
from ner_eval.arguments import add_threshold_arguments, wanted_scores
from ner_eval.metrics.judged import judge
from ner_eval.metrics.loaded_run import LoadedRun, load_run
from ner_eval.metrics.protocols import PROTOCOLS
from ner_eval.metrics.results import READINGS, SCORES, Scores, score_run
from ner_eval.reporting.confidence import describe_confidence
from ner_eval.reporting.terminal import describe_scores
from ner_eval.run_arguments import add_run_arguments, loading


def score(
    run: str | Path, *, gold: Path | None = None, partial: bool = False, allow_other_labels: bool = False
) -> Scores:
    """Count a run's hits and misses, and write them to its ``scores.json``.

    Arguments and errors are those of `load_run`.
    """
    return _save(load_run(run, gold=gold, partial=partial, allow_other_labels=allow_other_labels))


def _save(loaded: LoadedRun) -> Scores:
    scores = score_run(loaded)
    scores.save(loaded.folder / SCORES)
    return scores


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
    wanted = wanted_scores(args)
    loaded = load_run(args.run, **loading(args))
    judged = judge(loaded, wanted)  # raises before anything is written
    scores = _save(loaded)
    protocols = list(PROTOCOLS) if args.protocol == "all" else [args.protocol]
    for line in describe_scores(scores, loaded.name, protocols, args.reading):
        print(line)
    for line in ["", *describe_confidence(judged)] if judged else []:
        print(line)
    print(f"counts: {rooted(loaded.folder / SCORES)}")
