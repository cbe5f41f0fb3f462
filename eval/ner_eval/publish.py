"""``ner-eval publish RUN``: store a result with its recipe, and write the tables made of all results.

The result file is described in `ner_eval.published`, docs/benchmarks.md in `ner_eval.benchmarks`; the table in
recipes/README.md has one row for each result.
"""

import argparse
import math
from pathlib import Path
from typing import Any

from msgspec.structs import asdict

from ner_common.commands import positive
from ner_common.decoding import convert
from ner_common.errors import UserError, is_plain, one_line, rooted
from ner_common.files import locked, read_text, write_atomically, write_json
from ner_common.machine import hardware, output_of
from ner_eval.benchmarks import DOCS, FILE_NAME, write_benchmarks
from ner_eval.metrics.protocols import TEXT
from ner_eval.metrics.results import SCORES
from ner_eval.metrics.scores_file import read_scores
from ner_eval.published import RECIPES, Published, all_results, cell, table_of
from ner_eval.runs.manifest import Manifest, read_manifest, run_folder
from ner_eval.trainings import Training, records_trained, training_of, untrained

TABLE = RECIPES / "README.md"
START, END = "<!-- results: written by `ner-eval publish` -->", "<!-- end of results -->"
COLUMNS = ("Recipe", "Trained on", "Scored on", "Micro F1", "Macro F1", "Training", "GPU memory", "Hardware", "Commit")


def publish(
    run: str | Path | None = None,
    adapter: Path | None = None,
    *,
    recipe: Path | None = None,
    base: str | None = None,
    records: int | None = None,
    curve: str = "",
    gpu_memory: float | None = None,
    note: str = "",
) -> Path | None:
    """Store the result of a scored run with its recipe, and write all tables.

    Args:
        run: a name in ``runs/``, or a folder; without one, only the tables are written.
        adapter: saves/MODEL/METHOD/CORPUS, the folder that the recipe's training wrote; any other with a recipe.
        recipe: recipes/MODEL/METHOD.yaml, if the adapter's folder does not say.
        base: MODEL of recipes/MODEL: the run is of that base model without any training.
        records: how many records were trained on, if that cannot be counted.
        curve: the series of the learning curve that the result is a point of; several are separated by ``; ``.
        gpu_memory: peak GPU memory of the training in GB, if measured.
        note: what differs from the recipe, for example ``learning_rate=2e-4``.

    Returns:
        The result file; None without a run.

    Raises:
        UserError: no adapter and no base model is named, the run has no scores, no recipe wrote the adapter, a result
            file was edited, or the table's markers are missing.
    """
    if not RECIPES.is_dir():
        raise UserError(f"{RECIPES}: no such folder; run this in the repository's folder")
    if gpu_memory is not None and not (gpu_memory > 0 and math.isfinite(gpu_memory)):
        raise UserError(f"--gpu-memory {gpu_memory}: not an amount of memory in GB")
    if not is_plain(curve) or len(curve) > 60:
        raise UserError(f"--curve {one_line(curve, 80)}: not a name; give a short one without control characters")
    path = None
    # Several may publish at once, and each writes the tables of all results.
    with locked(RECIPES, "another process is publishing", wait=True):
        _table_text()  # refuses a table that cannot be written before anything else is
        if run:
            training = untrained(base, adapter, recipe, records) if base else training_of(adapter, recipe)
            more = {"note": note.encode("utf-8", "replace").decode(), "gpu_memory_gb": gpu_memory, "curve": curve}
            path = write_result(run_folder(run), training, records, more)
        write_table()
        write_benchmarks()
    return path


def prompt_facts(manifest: Manifest) -> dict[str, Any]:
    """The answer form, the fingerprint, and what the prompt has in addition."""
    spec, shots = manifest.prompt, manifest.shots
    return {
        "answer_form": spec.answer_form,
        "fingerprint": spec.fingerprint,
        "definitions": spec.defines_labels,
        "demonstrations": shots.count if shots else spec.demonstrations,
        "text_twice": bool(spec.again),
        **({"shots": shots.method} if shots else {}),
    }


def write_result(folder: Path, training: Training, records: int | None, more: dict[str, Any]) -> Path:
    """Write the result file of a scored run.

    Args:
        records: how many records were trained on; None: counted.
        more: what else the file says.

    Raises:
        UserError: the run has no scores, or is of another model than the training.
    """
    scores, manifest = read_scores(folder / SCORES), read_manifest(folder)
    bare = training.trained is None
    if bare and manifest.training:
        raise UserError(f"{rooted(folder)}: its model was trained; name the adapter with --adapter instead of --base")
    base = scores.model if bare else Path(training.base or training.recipe.parent).name
    answers = asdict(scores.answers)
    value = {
        "recipe": training.recipe.as_posix(),
        "trained_on": training.corpus,
        "commit": output_of("git", "rev-parse", "--short", "HEAD") or "unknown",
        "hardware": hardware(),
        "train_seconds": training.trained and training.trained.train_runtime,
        "epochs": training.trained and training.trained.epoch,
        "run": {"model": scores.model, "corpus": scores.corpus, "split": scores.split, "labels": scores.labels},
        "answers": {name: answers[name] for name in ("scored", "unparsable", "inexact", "cut", "refused")},
        "protocol": TEXT.counted_as,
        "readings": {
            name: {label: asdict(c) for label, c in scores.counts(TEXT, name).items()} for name in scores.readings
        },
        "intervals": scores.intervals,
        "base": base,
        "training_records": 0 if bare else records or records_trained(training.arguments),
        "prompt": prompt_facts(manifest),
        "answers_per_s": round(answers["scored"] / manifest.seconds, 2) if manifest.seconds else None,
        "number_format": training.number_format,
        **more,
    }
    if manifest.selected:
        value["selected"] = asdict(manifest.selected)
    if manifest.quantized:
        value["note"] = f"{manifest.quantized}; {value['note']}".removesuffix("; ")
    if value["curve"] and value["training_records"] is None:
        raise UserError("--curve: how many records were trained on is unknown; give it with --records")
    try:
        convert(value, Published)
    except ValueError as error:
        raise UserError(f"{rooted(folder)}: cannot be published ({error})") from None
    path = training.recipe.parent / "results" / f"{folder.absolute().name}.json"
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
    return table_of([COLUMNS, *map(_row, all_results().values())])


def _row(result: Published) -> tuple[str, ...]:
    refused = result.answers.get("refused")
    return (
        f"`{result.method}`" + (f" ({cell(result.note)})" if result.note else ""),
        cell(result.trained_on) or "–",
        cell(f"{result.run.corpus} {result.run.split}, {result.answers['scored']} sentences")
        + (f" ({refused} refused)" if refused else ""),
        f"{result.micro_f1:.4f}",
        f"{result.macro_f1:.4f}",
        *result.effort(),
    )


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", nargs="?", help="a scored run; without one, only the tables are written")
    parser.add_argument(
        "--adapter", type=Path, metavar="DIR", help="the folder that the recipe wrote: saves/MODEL/METHOD/CORPUS"
    )
    parser.add_argument(
        "--recipe", type=Path, metavar="FILE", help="the recipe that wrote an adapter's folder elsewhere"
    )
    parser.add_argument(
        "--base", metavar="MODEL", help="the run is of the base model of recipes/MODEL, without an adapter"
    )
    parser.add_argument(
        "--records", type=positive(int), metavar="N", help="how many records were trained on (default: counted)"
    )
    parser.add_argument(
        "--curve",
        default="",
        metavar="NAME",
        help="the result is a point of the learning curve of this name; of several: 'ONE; OTHER'",
    )
    parser.add_argument(
        "--gpu-memory", type=positive(float), metavar="GB", help="peak GPU memory of the training, if measured"
    )
    parser.add_argument("--note", default="", help="what differs from the recipe, for example 'learning_rate=2e-4'")


def run(args: argparse.Namespace) -> None:
    named = ("recipe", "base", "records", "curve", "gpu_memory", "note")
    path = publish(args.run, args.adapter, **{name: getattr(args, name) for name in named})
    if path:
        print(f"{rooted(path)}: written")
    print(f"{rooted(TABLE)}: table written")
    print(f"{rooted(DOCS / FILE_NAME)}: written")
