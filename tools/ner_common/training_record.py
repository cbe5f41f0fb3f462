"""How an adapter was trained: ``ner_training.json`` in its folder, written when training starts.

::

    {"started": "2026-11-24T08:40:00+00:00", "recipe": "recipes/nano/lora.yaml", "base_model": "data/nano",
     "arguments": {"finetuning_type": "lora", "lora_rank": 16, "learning_rate": 0.0015, …},
     "hardware": "2 cores AMD EPYC, no GPU", "versions": {"llamafactory": "0.9.5", "peft": "0.18.1", …}}

``arguments`` are the recipe's, overrides included; ``recipe`` is null if none was named.
"""

import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ner_common.errors import UserError
from ner_common.files import read_object, write_json
from ner_common.machine import hardware, installed

FILE_NAME = "ner_training.json"


def write_training_record(
    folder: Path, recipe: str | None, arguments: Mapping[str, Any], packages: tuple[str, ...]
) -> None:
    """Record a training that is about to start, in the folder that will hold the adapter.

    Args:
        recipe: the recipe's path, if one was named.
        arguments: the training's arguments by name.
        packages: distributions whose installed versions are recorded.
    """
    record = {
        "started": now(),
        "recipe": recipe,
        "base_model": arguments.get("model_name_or_path"),
        "arguments": dict(arguments),
        "hardware": hardware(),
        "versions": {name: found for name in packages if (found := installed(name))},
    }
    write_json(folder / FILE_NAME, record)


def read_training_record(folder: Path | None) -> dict[str, Any] | None:
    """The record in a model's folder, if there is one.

    A damaged one is reported on stderr and left out: it must not keep a model from being asked.
    """
    try:
        return (read_object(folder / FILE_NAME) or None) if folder else None
    except UserError as error:
        print(f"warning: {error}; the run will not say how the model was trained", file=sys.stderr)
        return None


def now() -> str:
    """The current time as ISO 8601 in UTC, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")
