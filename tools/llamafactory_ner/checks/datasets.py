"""The data sets that a recipe names, looked up before llamafactory does so: it would end in a traceback."""

import json
from pathlib import Path
from typing import Any

# What an entry of the registry may name beside a file: llamafactory takes the first that it finds.
SOURCES = ("hf_hub_url", "ms_hub_url", "om_hub_url", "script_url", "cloud_file_name", "file_name")
MEND = "mend it by hand, or run `git checkout dataset_info.json` and `make data`"


def dataset_problems(given: dict[str, Any], default_folder: str) -> list[str]:
    """Problems of the data sets in the arguments as written; none where llamafactory reads no local registry."""
    folder = given.get("dataset_dir") or default_folder
    names = [name for argument in ("dataset", "eval_dataset") for name in split(given.get(argument))]
    if not names or has_files(given.get("tokenized_path")):
        return []
    if not isinstance(folder, str) or folder == "ONLINE" or folder.startswith("REMOTE:"):
        return []
    path = Path(folder) / "dataset_info.json"
    try:
        registry = json.loads(path.read_text())  # with the platform's encoding, as llamafactory reads it
    except OSError as error:
        return [f"{path}: cannot be read ({error.strerror}); run `make data`, or set dataset_dir to its folder"]
    except ValueError as error:  # no JSON, or no text
        return [f"{path}: not JSON ({error}); {MEND}"]
    if not isinstance(registry, dict):
        return [f"{path}: not an object with one entry a data set; {MEND}"]
    return [problem for name in names if (problem := entry_problem(path, name, registry))]


def entry_problem(path: Path, name: str, registry: dict[str, Any]) -> str | None:
    """What is wrong with the registry's entry of a data set."""
    if name not in registry:
        return f"the data set {name!r} is not registered in {path}; run `make data CORPUS=…`, or correct the name"
    entry = registry[name]
    if not isinstance(entry, dict) or not any(isinstance(entry.get(source), str) for source in SOURCES):
        return f"{path}: the entry {name!r} names no file (file_name); {MEND}"
    return None


def split(names: Any) -> list[str]:
    """The data sets in an argument: a list, or names with commas between them."""
    if names is None or isinstance(names, list):
        return [str(name) for name in names or []]
    return [name.strip() for name in str(names).split(",")]


def has_files(folder: Any) -> bool:
    """Whether a folder of tokenised data is there, which llamafactory then takes instead of any data set."""
    return folder is not None and Path(str(folder)).is_dir() and any(Path(str(folder)).iterdir())
