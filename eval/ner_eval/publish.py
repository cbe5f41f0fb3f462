"""``ner-eval publish RUN``: store a result with its recipe, and update the table in recipes/README.md.

A result file, ``recipes/<model>/results/<run>.json``::

    {"recipe": "recipes/nano/lora.yaml", "trained_on": "demo", "note": "", "commit": "1a2b3c4",
     "hardware": "2 cores AMD EPYC, no GPU", "gpu_memory_gb": null, "train_seconds": 171.3, "epochs": 3.0,
     "run": {"corpus": "demo", "split": "test", …}, "answers": {…}, "protocol": "text",
     "readings": {"lenient": {label: {"tp": …, "fp": …, "fn": …}, …}, "strict": {…}}, "intervals": {…}}

and "selected" (`ner_common.training_record`) if `ner-eval select` chose the checkpoint.
"""

import argparse
import math
import re
from html import escape
from pathlib import Path
from typing import Annotated, Any, Literal

from msgspec import Meta, Struct, to_builtins
from msgspec.structs import asdict

from ner_common.commands import positive
from ner_common.decoding import convert
from ner_common.errors import UserError, one_line, printable, rooted
from ner_common.files import locked, read_json, read_text, write_atomically, write_json
from ner_common.machine import hardware, output_of
from ner_common.training_record import Selected
from ner_eval.metrics.counts import Count, Counts, macro, micro
from ner_eval.metrics.protocols import TEXT
from ner_eval.metrics.results import OTHER_LABELS, SCORES
from ner_eval.metrics.scores_file import read_scores
from ner_eval.runs.manifest import MANIFEST, read_manifest, run_folder

RECIPES = Path("recipes")
TABLE = RECIPES / "README.md"
START, END = "<!-- results: written by `ner-eval publish` -->", "<!-- end of results -->"
COLUMNS = ("Recipe", "Trained on", "Scored on", "Micro F1", "Macro F1", "Training", "GPU memory", "Hardware", "Commit")
Amount = Annotated[float, Meta(ge=0)]
# Characters that would end a cell or start markup; HTML's own are escaped as entities.
_MARKUP = re.compile(r"([\\`*|\[\]~]|(?<!\w)_|_(?!\w))")


class Trained(Struct):
    """What is taken from the ``all_results.json`` of a training; LLaMA-Factory writes more."""

    train_runtime: Amount | None = None
    epoch: Amount | None = None


class Scored(Struct, frozen=True, forbid_unknown_fields=True):
    """What was scored."""

    model: str
    corpus: str
    split: str
    labels: Annotated[tuple[str, ...], Meta(min_length=1)]


class Published(Struct, frozen=True, forbid_unknown_fields=True):
    """A result file."""

    recipe: str
    trained_on: str
    note: str
    commit: str
    hardware: str
    gpu_memory_gb: Amount | None
    train_seconds: Amount | None
    epochs: Amount | None
    run: Scored
    answers: dict[Literal["scored", "unparsable", "inexact", "cut", "refused"], Count]
    protocol: Literal["text"]
    readings: dict[Literal["lenient", "strict"], dict[str, Counts]]
    intervals: dict[str, Any]
    selected: Selected | None = None

    def __post_init__(self) -> None:
        # These two stand in the table as code, in which nothing can be escaped.
        if not re.fullmatch(r"recipes/[^`|<>/\x00-\x1f]+/[^`|<>/\x00-\x1f]+\.yaml", self.recipe):
            raise ValueError(f"recipe: {one_line(self.recipe)} is not recipes/MODEL/METHOD.yaml")
        if not re.fullmatch(r"\w+", self.commit):
            raise ValueError(f"commit: {one_line(self.commit)} is not a commit")
        labels = set(self.run.labels)
        if self.readings.keys() != {"lenient", "strict"}:
            raise ValueError("readings: expected lenient and strict")
        if any(by_label.keys() | {OTHER_LABELS} != labels | {OTHER_LABELS} for by_label in self.readings.values()):
            raise ValueError("readings: do not have the labels of the run")
        if not self.answers.get("scored") or max(self.answers.values()) > self.answers["scored"]:
            raise ValueError("answers: do not add up")
        lenient, strict = (self.readings[name] for name in ("lenient", "strict"))
        for label, one in lenient.items():
            other = strict.get(label, Counts())
            if one.tp + one.fn != other.tp + other.fn or other.tp > one.tp or other.fp > one.fp:
                raise ValueError("readings: the counts of lenient and strict parsing contradict each other")


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
        UserError: no adapter is named, the run has no scores, no recipe wrote the adapter, a result file was edited,
            or the table's markers are missing.
    """
    if not RECIPES.is_dir():
        raise UserError(f"{RECIPES}: no such folder; run this in the repository's folder")
    path = None
    # Several may publish at once, and each writes the table of all results.
    with locked(RECIPES, "another process is publishing", wait=True):
        _table_text()  # refuses a table that cannot be written before anything else is
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
    if gpu_memory is not None and not (gpu_memory > 0 and math.isfinite(gpu_memory)):
        raise UserError(f"--gpu-memory {gpu_memory}: not an amount of memory in GB")
    scores = read_scores(folder / SCORES)
    parts = adapter.resolve().parts
    model, method, corpus = parts[-3:] if len(parts) > 3 else ("", "", "")
    recipe = RECIPES / model / f"{method}.yaml"
    if not recipe.is_file():
        raise UserError(
            f"{rooted(adapter)}: was not written by a recipe ({recipe} does not exist); name saves/MODEL/METHOD/CORPUS"
        )
    trained = read_json(adapter / "all_results.json", "train with the recipe first", Trained)
    answers = asdict(scores.answers)
    value = {
        "recipe": recipe.as_posix(),
        "trained_on": corpus,
        "note": note.encode("utf-8", "replace").decode(),
        "commit": output_of("git", "rev-parse", "--short", "HEAD") or "unknown",
        "hardware": hardware(),
        "gpu_memory_gb": gpu_memory,
        "train_seconds": trained.train_runtime,
        "epochs": trained.epoch,
        "run": {"model": scores.model, "corpus": scores.corpus, "split": scores.split, "labels": scores.labels},
        "answers": {name: answers[name] for name in ("scored", "unparsable", "inexact", "cut", "refused")},
        "protocol": TEXT.counted_as,
        "readings": {
            name: {label: asdict(c) for label, c in scores.counts(TEXT, name).items()} for name in scores.readings
        },
        "intervals": scores.intervals,
    }
    if (folder / MANIFEST).is_file() and (selected := read_manifest(folder).selected):
        value["selected"] = asdict(selected)
    try:
        convert(value, Published)
    except ValueError as error:
        raise UserError(f"{rooted(folder)}: cannot be published ({error})") from None
    path = RECIPES / model / "results" / f"{folder.absolute().name}.json"
    write_json(path, value)
    return path


def write_table() -> None:
    """Write the table between its markers in recipes/README.md.

    Raises:
        UserError: the markers are missing, or a result file was edited.
    """
    before, after = _table_text()
    shown = table()
    with write_atomically(TABLE) as file:
        file.write(f"{before}{START}\n\n{shown}\n\n{END}{after}")


def _table_text() -> tuple[str, str]:
    """The text before and after the table in recipes/README.md."""
    text = read_text(TABLE, "restore it with `git checkout`")
    before, found, rest = text.partition(START)
    _, ended, after = rest.partition(END)
    if not (found and ended):
        raise UserError(f"{TABLE}: the markers of the table are missing; restore them with `git checkout {TABLE}`")
    return before, after


def table() -> str:
    """The Markdown table of all result files, one row each."""
    rows = [_row(read_result(path)) for path in sorted(RECIPES.glob("*/results/*.json"))]
    lines = [COLUMNS, tuple("---" for _ in COLUMNS), *rows]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)


def read_result(path: Path) -> Published:
    """Read a result file.

    Raises:
        UserError: it is not one, or its counts contradict each other.
    """
    remedy = "publish the run again, or remove the file"
    value = read_json(path, remedy)
    try:
        result = convert(value, Published)
        if to_builtins(result.readings) != value["readings"]:
            raise ValueError("readings: a count is missing")
    except ValueError as error:
        raise UserError(f"{rooted(path)}: not a published result, or edited ({error}); {remedy}") from None
    return result


def _row(result: Published) -> tuple[str, ...]:
    by_label = result.readings["lenient"]
    recipe = result.recipe.removeprefix("recipes/").removesuffix(".yaml")
    epochs = "" if result.epochs is None else f", {result.epochs:.1f} epochs"
    if result.selected:
        epochs += f", {result.selected.checkpoint}, the best of {result.selected.compared}"
    refused = result.answers.get("refused")
    return (
        f"`{recipe}`" + (f" ({_cell(result.note)})" if result.note else ""),
        _cell(result.trained_on),
        _cell(f"{result.run.corpus} {result.run.split}, {result.answers['scored']} sentences")
        + (f" ({refused} refused)" if refused else ""),
        f"{micro(by_label).f1:.4f}",
        f"{macro(by_label, result.run.labels)[2]:.4f}",
        f"{result.train_seconds / 60:.1f} min{epochs}" if result.train_seconds else "–",
        f"{result.gpu_memory_gb:.1f} GB" if result.gpu_memory_gb else "–",
        _cell(result.hardware),
        f"`{result.commit}`",
    )


def _cell(text: str) -> str:
    """A text as Markdown for one cell: it is shown literally, and can end neither the cell nor the table."""
    return _MARKUP.sub(r"\\\1", escape(printable(" ".join(text.split())), quote=False))


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", nargs="?", help="a scored run; without one, only the table is updated")
    parser.add_argument(
        "--adapter", type=Path, metavar="DIR", help="the folder that the recipe wrote: saves/MODEL/METHOD/CORPUS"
    )
    parser.add_argument(
        "--gpu-memory", type=positive(float), metavar="GB", help="peak GPU memory of the training, if measured"
    )
    parser.add_argument("--note", default="", help="what differs from the recipe, for example 'learning_rate=2e-4'")


def run(args: argparse.Namespace) -> None:
    path = publish(args.run, args.adapter, gpu_memory=args.gpu_memory, note=args.note)
    if path:
        print(f"{rooted(path)}: written")
    print(f"{rooted(TABLE)}: table written")
