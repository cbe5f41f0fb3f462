"""``ner-eval publish RUN``: store a result with its recipe, and update the table in recipes/README.md.

A result file, ``recipes/<model>/results/<run>.json``::

    {"recipe": "recipes/nano/lora.yaml", "trained_on": "demo", "note": "", "commit": "1a2b3c4",
     "hardware": "2 cores AMD EPYC, no GPU", "gpu_memory_gb": null, "train_seconds": 171.3, "epochs": 3.0,
     "run": {"corpus": "demo", "split": "test", …}, "answers": {…}, "protocol": "text",
     "readings": {"lenient": {label: {"tp": …, "fp": …, "fn": …}, …}, "strict": {…}}, "intervals": {…}}
"""

import argparse
from pathlib import Path
from typing import Any

from ner_common.errors import UserError, rooted
from ner_common.files import read_json, read_text, write_atomically, write_json
from ner_common.machine import hardware, output_of
from ner_eval.metrics.counts import Counts, macro, micro
from ner_eval.metrics.protocols import TEXT
from ner_eval.metrics.results import SCORES, read_scores
from ner_eval.runs.manifest import run_folder

RECIPES = Path("recipes")
TABLE = RECIPES / "README.md"
START, END = "<!-- results: written by `ner-eval publish` -->", "<!-- end of results -->"
COLUMNS = ("Recipe", "Trained on", "Scored on", "Micro F1", "Macro F1", "Training", "GPU memory", "Hardware", "Commit")


def publish(
    run: str | Path | None = None, adapter: Path | None = None, *, gpu_memory: float | None = None, note: str = ""
) -> Path | None:
    """Store the result of a scored run with its recipe, and update the table in recipes/README.md.

    Args:
        run: a name in ``runs/``, or a folder; without one, only the table is written.
        adapter: saves/MODEL/METHOD/CORPUS, the folder that the recipe's training wrote.
        gpu_memory: peak GPU memory of the training in GB, if measured.
        note: what differs from the recipe, for example ``learning_rate=2e-4``.

    Returns:
        The result file; None without a run.

    Raises:
        UserError: no adapter is named, the run has no scores, no recipe wrote the adapter, or the table's markers
            are missing.
    """
    path = None
    if run:
        if adapter is None:
            raise UserError("name the adapter's folder with --adapter saves/MODEL/METHOD/CORPUS")
        path = write_result(run_folder(run), adapter, gpu_memory, note)
    write_table()
    return path


def write_result(folder: Path, adapter: Path, gpu_memory: float | None, note: str) -> Path:
    """Write the result file of a scored run.

    Raises:
        UserError: the run has no scores, or the folder is not one that a recipe wrote.
    """
    scores = read_scores(folder / SCORES)
    parts = adapter.resolve().parts
    model, method, corpus = parts[-3:]
    recipe = RECIPES / model / f"{method}.yaml"
    if not recipe.is_file():
        raise UserError(
            f"{rooted(adapter)}: was not written by a recipe ({recipe} does not exist); name saves/MODEL/METHOD/CORPUS"
        )
    trained = read_json(adapter / "all_results.json", "train with the recipe first")
    result = {
        "recipe": recipe.as_posix(),
        "trained_on": corpus,
        "note": note,
        "commit": output_of("git", "rev-parse", "--short", "HEAD") or "unknown",
        "hardware": hardware(),
        "gpu_memory_gb": gpu_memory,
        "train_seconds": trained.get("train_runtime"),
        "epochs": trained.get("epoch"),
        "run": {"model": scores.model, "corpus": scores.corpus, "split": scores.split, "labels": scores.labels},
        "answers": {name: getattr(scores.answers, name) for name in ("scored", "unparsable", "inexact", "cut")},
        "protocol": TEXT.counted_as,
        "readings": {
            name: {label: {"tp": c.tp, "fp": c.fp, "fn": c.fn} for label, c in scores.counts(TEXT, name).items()}
            for name in scores.readings
        },
        "intervals": scores.intervals,
    }
    path = RECIPES / model / "results" / f"{folder.name}.json"
    write_json(path, result)
    return path


def write_table() -> None:
    """Write the table between its markers in recipes/README.md.

    Raises:
        UserError: the markers are missing.
    """
    text = read_text(TABLE, "restore it with `git checkout`")
    before, found, rest = text.partition(START)
    _, ended, after = rest.partition(END)
    if not (found and ended):
        raise UserError(f"{TABLE}: the markers of the table are missing; restore them with `git checkout {TABLE}`")
    with write_atomically(TABLE) as file:
        file.write(f"{before}{START}\n\n{table()}\n\n{END}{after}")


def table() -> str:
    """The Markdown table of all result files, one row each."""
    rows = [_row(read_json(path, "remove it")) for path in sorted(RECIPES.glob("*/results/*.json"))]
    lines = [COLUMNS, tuple("---" for _ in COLUMNS), *rows]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)


def _row(result: dict[str, Any]) -> tuple[str, ...]:
    by_label = {label: Counts(**counts) for label, counts in result["readings"]["lenient"].items()}
    recipe = result["recipe"].removeprefix("recipes/").removesuffix(".yaml")
    seconds, memory = result["train_seconds"], result["gpu_memory_gb"]
    return (
        f"`{recipe}`" + (f" ({result['note']})" if result["note"] else ""),
        result["trained_on"],
        f"{result['run']['corpus']} {result['run']['split']}, {result['answers']['scored']} sentences",
        f"{micro(by_label).f1:.4f}",
        f"{macro(by_label, result['run']['labels'])[2]:.4f}",
        f"{seconds / 60:.1f} min, {result['epochs']:.1f} epochs" if seconds else "–",
        f"{memory:.1f} GB" if memory else "–",
        result["hardware"],
        f"`{result['commit']}`",
    )


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", nargs="?", help="a scored run; without one, only the table is updated")
    parser.add_argument(
        "--adapter", type=Path, metavar="DIR", help="the folder that the recipe wrote: saves/MODEL/METHOD/CORPUS"
    )
    parser.add_argument("--gpu-memory", type=float, metavar="GB", help="peak GPU memory of the training, if measured")
    parser.add_argument("--note", default="", help="what differs from the recipe, for example 'learning_rate=2e-4'")


def run(args: argparse.Namespace) -> None:
    path = publish(args.run, args.adapter, gpu_memory=args.gpu_memory, note=args.note)
    if path:
        print(f"{rooted(path)}: written")
    print(f"{rooted(TABLE)}: table written")
