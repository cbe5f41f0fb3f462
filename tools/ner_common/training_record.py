"""How an adapter was trained: ``ner_training.json`` in its folder, written when training starts.

::

    {"started": "2026-11-24T08:40:00+00:00", "recipe": "recipes/nano/lora.yaml", "base_model": "data/nano",
     "arguments": {"finetuning_type": "lora", "lora_rank": 16, "learning_rate": 0.0015, …},
     "hardware": "2 cores AMD EPYC, no GPU", "versions": {"llamafactory": "0.9.5", "peft": "0.18.1", …}}

``arguments`` are the recipe's, overrides included; ``recipe`` is null if none was named.
"""

import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ner_common.decoding import convert
from ner_common.errors import UserError, rooted
from ner_common.files import read_object, write_json
from ner_common.machine import hardware, installed

FILE_NAME = "ner_training.json"


@dataclass(frozen=True, slots=True)
class TrainingRecord:
    """What the file holds, see above."""

    started: str
    recipe: str | None
    base_model: str | None
    arguments: dict[str, Any]
    hardware: str
    versions: dict[str, str]


def write_training_record(
    folder: Path, recipe: str | None, arguments: Mapping[str, Any], packages: tuple[str, ...]
) -> None:
    """Record a training that is about to start, in the folder that will hold the adapter.

    Args:
        recipe: the recipe's path, if one was named.
        arguments: the training's arguments by name.
        packages: distributions whose installed versions are recorded.
    """
    base = arguments.get("model_name_or_path")
    record = TrainingRecord(
        started=now(),
        recipe=recipe,
        base_model=None if base is None else str(base),
        arguments=dict(arguments),
        hardware=hardware(),
        versions={name: found for name in packages if (found := installed(name))},
    )
    write_json(folder / FILE_NAME, asdict(record))


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


def now() -> str:
    """The current time as ISO 8601 in UTC, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")
