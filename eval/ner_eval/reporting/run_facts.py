"""What a reader needs to know about a run, as lists of (name, value): when, which model, how trained, what was asked.

A name is a key of ``page/strings.json``. A value is text, None (not recorded, as in runs of older versions), or
``{"say": key, "with": {…}}`` for values in words.
"""

import json
from collections.abc import Mapping
from typing import Any

from ner_common.training_record import Quantized, Selected
from ner_data.described import Corpus
from ner_eval.metrics.loaded_run import LoadedRun
from ner_eval.reporting.wording import four

_SHOTS = {"nearest": "shots_nearest", "fixed": "shots_fixed"}
Rows = list[list[Any]]
# Training arguments that are shown if given: key of strings.json -> name in the recipe.
_SETTINGS = {
    "method": "finetuning_type",
    "quantization": "quantization_bit",
    "rank": "lora_rank",
    "alpha": "lora_alpha",
    "virtual_tokens": "num_virtual_tokens",
    "learning_rate": "learning_rate",
    "scheduler": "lr_scheduler_type",
    "epochs": "num_train_epochs",
    "batch": "per_device_train_batch_size",
    "cutoff": "cutoff_len",
    "dataset": "dataset",
    "seed": "seed",
}


def run_facts(run: LoadedRun, corpus: Corpus | None) -> list[dict[str, Any]]:
    """The facts of a run in groups ``{"title": key, "rows": [[key, value], …]}``.

    Args:
        corpus: the description of its corpus; None if this machine has none.
    """
    manifest = run.manifest
    prompt, labels = manifest.prompt, manifest.prompt.labels
    shots = manifest.shots
    counts = {"n": shots.count, "seed": shots.seed} if shots else {}
    groups: list[tuple[str, Rows]] = [
        (
            "run",
            [
                ["run_name", run.name],
                ["started", _time(manifest.started)],
                ["seconds", None if manifest.seconds is None else f"{manifest.seconds:.1f}"],
                ["asked_on", _text(manifest.hardware)],
                ["served_as", manifest.model],
                ["folder", _text(manifest.folder)],
                ["weights", _text(manifest.weights)],
                ["versions", _pairs(manifest.tool_versions)],
            ],
        ),
        ("training", _training(manifest.training, manifest.selected, manifest.quantized)),
        (
            "corpus",
            [
                ["corpus", manifest.corpus],
                *([["title", corpus.title], ["licence", corpus.licence]] if corpus else []),
                ["split", manifest.split],
                ["selected", selection(manifest.selection)],
                ["gold_file", f"{manifest.gold} (sha256 {manifest.gold_sha256[:12]})"],
            ],
        ),
        (
            "prompt",
            [
                ["fingerprint", prompt.fingerprint],
                ["answer_form", prompt.answer_form],
                ["asked_labels", {"say": "number_and_list", "with": {"n": len(labels), "list": ", ".join(labels)}}],
                ["sampling", _pairs(manifest.sampling)],
                *([["shots", {"say": _SHOTS[shots.method], "with": counts}]] if shots else []),
            ],
        ),
    ]  # fmt: skip
    return [{"title": title, "rows": rows} for title, rows in groups]


def selection(chosen: Mapping[str, Any]) -> dict[str, Any]:
    """How records were chosen, in words."""
    if chosen.get("limit"):
        return {"say": "selection_limit", "with": {"n": chosen["limit"]}}
    if chosen.get("sample"):
        return {"say": "selection_sample", "with": {"n": chosen["sample"], "seed": chosen.get("seed")}}
    return {"say": "selection_all", "with": {}}


def _training(record: Any, selected: Selected | None, quantized: Quantized | None) -> Rows:
    """What ``ner_training.json`` says (see `ner_common.training_record`); fields of other types are not shown."""
    if not isinstance(record, Mapping):
        return [["training", None]]
    arguments = record.get("arguments")
    arguments = arguments if isinstance(arguments, Mapping) else {}
    rows: Rows = [
        ["started", _time(record.get("started"))],
        ["base_model", _text(record.get("base_model"))],
        ["recipe", _text(record.get("recipe"))],
    ]
    for key, name in _SETTINGS.items():
        value = arguments.get(name)
        if value is None:
            continue
        if key == "batch":
            value = f"{_text(value)} × {_text(arguments.get('gradient_accumulation_steps', 1))}"
        rows.append([key, _text(value)])
    if selected:
        counts = {"n": selected.compared, "records": selected.records, "f1": four(selected.f1)}
        rows.append(["checkpoint", {"say": "chosen_checkpoint", "with": {"name": selected.checkpoint, **counts}}])
    if quantized:
        rows.append(["quantized", str(quantized)])
    return [*rows, ["trained_on", _text(record.get("hardware"))], ["versions", _pairs(record.get("versions"))]]


def _time(value: Any) -> str | None:
    """2026-11-24T08:40:00+00:00 as a person writes it."""
    return None if value is None else str(value).replace("T", " ").replace("+00:00", " UTC")


def _text(value: Any) -> str | None:
    return value if value is None or isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _pairs(value: Any) -> str | None:
    """The entries of a mapping on one line: ``temperature 0 · top_p 1``."""
    if not isinstance(value, Mapping) or not value:
        return None
    return " · ".join(f"{key} {_text(one)}" for key, one in value.items())
