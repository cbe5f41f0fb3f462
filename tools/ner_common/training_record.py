"""How an adapter was trained: ``ner_training.json`` in its folder, written when training starts.

::

    {"started": "2026-11-24T08:40:00+00:00", "recipe": "recipes/nano/lora.yaml", "base_model": "data/nano",
     "arguments": {"finetuning_type": "lora", "lora_rank": 16, "learning_rate": 0.0015, …},
     "hardware": "2 cores AMD EPYC, no GPU", "versions": {"llamafactory": "0.9.5", "peft": "0.18.1", …}}

``arguments`` are the recipe's, overrides included; ``recipe`` is null if none was named. `ner-eval select` adds which
of the training's checkpoints the folder holds now::

    "selected": {"checkpoint": "checkpoint-400", "step": 400, "compared": 9, "f1": 0.8312,
                 "interval": [0.8055, 0.8561], "records": 200, "weights": "0f3a…", "at": "2026-11-24T10:02:11+00:00"}

and `ner-model quantize` or `ner-model export-gguf` what became of the model that it was given::

    "quantized": {"scheme": "awq", "group": 64, "samples": 256, "bytes": 3100000, "bytes_before": 12300000,
                  "at": "2026-11-29T19:12:30+00:00"}

A training that reports to a tracker also has its run there, to which `ner-eval track` adds scores::

    "tracked": {"tensorboard": "saves/nano/lora/demo/runs/Nov24_08-40-00_host", "swanlab": "k3j…"}
"""

import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

from msgspec import Meta, Struct
from msgspec.structs import asdict as struct_asdict
from msgspec.structs import replace

from ner_common.decoding import convert
from ner_common.errors import UserError, rooted
from ner_common.files import read_json, read_object, write_json
from ner_common.machine import hardware, installed

FILE_NAME = "ner_training.json"
# What a training may report to such that scores can be added: the names are transformers' and the packages'.
TRACKERS = ("tensorboard", "swanlab", "wandb")


Ratio = Annotated[float, Meta(ge=0, le=1)]


class Selected(Struct, frozen=True, forbid_unknown_fields=True):
    """The checkpoint that was chosen by its F1 on the held-out records.

    Attributes:
        compared: how many there were to choose from.
        interval: 95 % interval of the F1.
        records: how many held-out records were asked for.
        weights: its fingerprint. If the folder's is another one, the folder holds another model.
    """

    checkpoint: Annotated[str, Meta(pattern=r"^checkpoint-[a-z0-9]{1,20}\Z")]
    step: Annotated[int, Meta(ge=0)]
    compared: Annotated[int, Meta(ge=1)]
    f1: Ratio
    interval: tuple[Ratio, Ratio]
    records: Annotated[int, Meta(ge=1)]
    weights: Annotated[str, Meta(pattern=r"^[0-9a-f]{16}\Z")]
    at: Annotated[str, Meta(max_length=40)]

    @property
    def without_time(self) -> "Selected":
        return replace(self, at="")


class Quantized(Struct, frozen=True, forbid_unknown_fields=True):
    """How the model was quantised.

    Attributes:
        scheme: a name in `ner_models.schemes.SCHEMES`, or ``gguf_`` and one in `ner_models.export_gguf.TYPES`.
        group: how many weights share a scale; 0: those of a row, or as the type of a GGUF file has it.
        samples: how many training records it was calibrated on; 0: it needs none.
        bytes, bytes_before: of the weights.
    """

    scheme: Annotated[str, Meta(pattern=r"^[a-z0-9_]{1,20}\Z")]
    group: Annotated[int, Meta(ge=0)]
    samples: Annotated[int, Meta(ge=0)]
    bytes: Annotated[int, Meta(ge=1)]
    bytes_before: Annotated[int, Meta(ge=1)]
    at: Annotated[str, Meta(max_length=40)]

    def __str__(self) -> str:
        """In words, for tables: ``awq (group 64, 256 samples), 3.1 MB of 12.3 MB``."""
        more = f" (group {self.group}, {self.samples} samples)" if self.samples else ""
        return f"{self.scheme}{more}, {megabytes(self.bytes)} of {megabytes(self.bytes_before)}"


def megabytes(size: int) -> str:
    """A number of bytes in MB (10^6 bytes)."""
    return f"{size / 1e6:,.{1 if size < 10**8 else 0}f} MB"


@dataclass(frozen=True, slots=True)
class TrainingRecord:
    """What the file holds, see above."""

    started: str
    recipe: str | None
    base_model: str | None
    arguments: dict[str, Any]
    hardware: str
    versions: dict[str, str]
    selected: Selected | None = None
    tracked: dict[str, str] = field(default_factory=dict)
    quantized: Quantized | None = None


def write_training_record(
    folder: Path,
    recipe: str | None,
    arguments: Mapping[str, Any],
    packages: tuple[str, ...],
    tracked: Mapping[str, str] = {},
) -> None:
    """Record a training that is about to start, in the folder that will hold the adapter.

    Args:
        recipe: the recipe's path, if one was named.
        arguments: the training's arguments by name.
        packages: distributions whose installed versions are recorded.
        tracked: tracker -> the run there: an id, or TensorBoard's folder.
    """
    base = arguments.get("model_name_or_path")
    record = TrainingRecord(
        started=now(),
        recipe=recipe,
        base_model=None if base is None else str(base),
        arguments=dict(arguments),
        hardware=hardware(),
        versions={name: found for name in packages if (found := installed(name))},
        tracked=dict(tracked),
    )
    value = asdict(record)
    del value["selected"], value["quantized"]  # nothing has been chosen yet
    if not tracked:
        del value["tracked"]
    write_json(folder / FILE_NAME, value)


def load_training_record(folder: Path, remedy: str) -> TrainingRecord:
    """The record in an adapter's folder.

    Raises:
        UserError: there is none, or it is damaged; the message ends with ``remedy``.
    """
    return read_json(folder / FILE_NAME, remedy, TrainingRecord)


def add_to_record(folder: Path, **facts: Struct) -> None:
    """Add to the record in a folder what became of the model later: ``selected`` or ``quantized``.

    Raises:
        UserError: see `load_training_record`.
    """
    value = read_json(folder / FILE_NAME, "train again", dict[str, Any])
    write_json(folder / FILE_NAME, value | {name: struct_asdict(fact) for name, fact in facts.items()})


def read_training_record(folder: Path | None) -> dict[str, Any] | None:
    """The record in a model's folder, if there is one.

    A damaged one is reported on stderr and left out: it must not keep a model from being asked.
    """
    if not folder or not (path := folder / FILE_NAME).is_file():
        return None
    try:
        record = read_object(path)
        convert(record, TrainingRecord)
    except (UserError, OSError, ValueError) as error:
        problem = str(error) if isinstance(error, UserError) else f"{rooted(path)}: {error}"
        print(f"warning: {problem}; the run will not say how the model was trained", file=sys.stderr)
        return None
    return record


def data_sets(arguments: Mapping[str, Any]) -> list[str]:
    """The names of the data sets that a training was told to use; a recipe lists them, or joins them with commas."""
    named = arguments.get("dataset") or []
    names = named if isinstance(named, list) else str(named).split(",")
    return [str(name).strip() for name in names if str(name).strip()]


def now() -> str:
    """The current time as ISO 8601 in UTC, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")
