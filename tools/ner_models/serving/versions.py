"""The versions of the adapters that `ner-model reload` exchanges, each in a folder of its own.

A server reads a copy, because the folder that a user names may be trained into again: the version before must still be
there to go back to, and vLLM keeps what it computed with an adapter by the adapter's path.
"""

import shutil
from collections.abc import Sequence
from pathlib import Path

from llamafactory_ner.checks.configs import LORA
from ner_common.adapters import ADAPTER_CONFIG, CALIBRATION, WEIGHTS
from ner_common.errors import UserError, rooted
from ner_common.files import whole_folder
from ner_common.training_record import FILE_NAME as TRAINING
from ner_data.prompt import FILE_NAME as PROMPT
from ner_models.serving.adapters import Adapter
from ner_models.serving.state import versions_folder

KEPT = (ADAPTER_CONFIG, WEIGHTS, PROMPT, TRAINING, CALIBRATION)


def first_versions(adapters: Sequence[Adapter], port: int) -> dict[str, Path]:
    """Where the copies of the LoRA adapters that a server starts with belong, by name.

    Raises:
        UserError: there are none.
    """
    names = [adapter.name for adapter in adapters if adapter.kind == LORA]
    if not names:
        raise UserError("--reloadable: only LoRA adapters can be exchanged, and none is given; name one, or remove it")
    return {name: versions_folder(port) / name / "1" for name in names}


def next_version(name: str, port: int) -> Path:
    """A folder that no version of an adapter has had, not even one that was gone back from."""
    folder = versions_folder(port) / name
    used = [int(path.name) for path in folder.iterdir() if path.name.isdigit()] if folder.is_dir() else []
    return folder / str(max(used, default=0) + 1)


def keep_version(adapter: Path, version: Path) -> None:
    """Copy what serving and evaluating an adapter needs; all of it or nothing.

    Raises:
        UserError: the copy cannot be written.
    """
    try:
        with whole_folder(version) as folder:
            for name in KEPT:
                if (adapter / name).is_file():
                    shutil.copyfile(adapter / name, folder / name)
    except OSError as error:
        problem = f"cannot be copied from {rooted(adapter)} ({error.strerror or error})"
        raise UserError(f"{rooted(version)}: {problem}; make room and try again") from None
