"""Checks that a recipe's data sets are registered; llamafactory itself would fail with a traceback."""

import locale
from codecs import BOM_UTF8
from pathlib import Path
from typing import Any

from ner_common.files import read_json

# Keys that tell where the data of a registry entry are; llamafactory uses the first one it finds.
SOURCES = ("hf_hub_url", "ms_hub_url", "om_hub_url", "script_url", "cloud_file_name", "file_name")
FIX = "fix it by hand, or remove it and run `make data` for each corpus"


def dataset_problems(given: dict[str, Any], default_folder: str) -> list[str]:
    """Problems with the data sets in the arguments as written; none if llamafactory reads no local registry.

    Raises:
        UserError: the registry is not JSON.
    """
    folder = given.get("dataset_dir") or default_folder
    names = [name for argument in ("dataset", "eval_dataset") for name in split(given.get(argument))]
    if not names or has_files(given.get("tokenized_path")):
        return []
    if not isinstance(folder, str) or folder == "ONLINE" or folder.startswith("REMOTE:"):
        return []
    path = Path(folder) / "dataset_info.json"
    if not path.is_file():
        return [f"{path}: no such file; run `make data`, or set dataset_dir to its folder"]
    registry = read_json(path, FIX)
    if not isinstance(registry, dict):
        return [f"{path}: not an object with one entry per data set; {FIX}"]
    # llamafactory reads it with the platform's encoding, and no byte-order mark.
    data, encoding = path.read_bytes(), locale.getpreferredencoding(False)
    if data.startswith(BOM_UTF8) or not (data.isascii() or encoding.upper() in ("UTF-8", "UTF8")):
        return [f"{path}: has characters that llamafactory cannot read here (encoding {encoding}); write it in ASCII"]
    return [problem for name in names if (problem := entry_problem(path, name, registry))]


def entry_problem(path: Path, name: str, registry: dict[str, Any]) -> str | None:
    """What is wrong with the registry's entry of a data set."""
    if name not in registry:
        return f"the data set {name!r} is not registered in {path}; run `make data CORPUS=…`, or correct the name"
    entry = registry[name]
    if not isinstance(entry, dict) or not any(isinstance(entry.get(source), str) for source in SOURCES):
        return f"{path}: the entry {name!r} names no file (file_name); {FIX}"
    return None


def split(names: Any) -> list[str]:
    """The names in an argument, such as data sets: a list, or comma-separated."""
    if names is None or isinstance(names, list):
        return [str(name) for name in names or []]
    return [name.strip() for name in str(names).split(",")]


def has_files(folder: Any) -> bool:
    """Whether the folder of tokenised data has files, which llamafactory then uses instead of any data set."""
    return folder is not None and Path(str(folder)).is_dir() and any(Path(str(folder)).iterdir())
