"""Which training a published result is of: its recipe, its data, and how many records it used."""

import math
from pathlib import Path
from typing import Any

from msgspec import Struct

from ner_common.errors import UserError, is_plain, one_line, rooted
from ner_common.files import read_json
from ner_common.training_record import data_sets, read_training_record
from ner_eval.published import RECIPES, UNTRAINED, Amount


class Trained(Struct, frozen=True):
    """What is taken from the ``all_results.json`` of a training; LLaMA-Factory writes more."""

    train_runtime: Amount | None = None
    epoch: Amount | None = None


class Training(Struct, frozen=True):
    """Which training a result is of.

    Attributes:
        recipe: recipes/MODEL/METHOD.yaml; recipes/MODEL/model.yaml for an untrained base model.
        corpus: what was trained on.
        trained: what the host says of it; None for an untrained model.
        arguments: the training's, as recorded; {} if unknown.
        base: the folder of the base model, as recorded.
    """

    recipe: Path
    corpus: str = ""
    trained: Trained | None = None
    arguments: dict[str, Any] = {}
    base: str | None = None

    @property
    def number_format(self) -> str:
        """What it computed in, as recorded; "" if unknown."""
        if not self.arguments:
            return ""
        found = (name for key, name in (("bf16", "bfloat16"), ("fp16", "float16")) if self.arguments.get(key))
        return next(found, "float32")


def untrained(base: str, adapter: Path | None, recipe: Path | None, records: int | None) -> Training:
    """The training of a base model that has none.

    Raises:
        UserError: something of a training is named too, or there is no such model.
    """
    if adapter or recipe or records:
        raise UserError("--base: an untrained model has no --adapter, --recipe and --records; leave them or it out")
    path = RECIPES / base / UNTRAINED
    if "/" in base or not is_plain(base) or not path.is_file():
        raise UserError(f"--base {one_line(base)}: there is no {RECIPES}/MODEL/{UNTRAINED} of that name; name a MODEL")
    return Training(path)


def training_of(adapter: Path | None, recipe: Path | None) -> Training:
    """The training that wrote an adapter's folder.

    Raises:
        UserError: no folder is named, or it is not known which recipe wrote it.
    """
    if adapter is None:
        problem = "name the adapter's folder with --adapter saves/MODEL/METHOD/CORPUS"
        raise UserError(f"{problem}, or an untrained model with --base MODEL")
    record = read_training_record(adapter) or {}
    arguments = record.get("arguments", {})
    parts = adapter.resolve().parts
    model, method, folder = parts[-3:] if len(parts) > 3 else ("", "", "")
    corpus = ", ".join(name.removesuffix("_train") for name in data_sets(arguments))
    if recipe is None:
        corpus = corpus or folder
        recipe = RECIPES / model / f"{method}.yaml"
        if not recipe.is_file():
            remedy = "name saves/MODEL/METHOD/CORPUS, or the recipe with --recipe"
            raise UserError(f"{rooted(adapter)}: was not written by a recipe ({recipe} does not exist); {remedy}")
    else:
        recipe = _own(recipe)
        if not corpus:
            problem = "ner_training.json does not say what it was trained on"
            raise UserError(f"{rooted(adapter)}: {problem}; name saves/MODEL/METHOD/CORPUS instead of --recipe")
    trained = read_json(adapter / "all_results.json", "train with the recipe first", Trained)
    return Training(recipe, corpus, trained, arguments, record.get("base_model"))


def _own(recipe: Path) -> Path:
    """A recipe's path from the repository's folder.

    Raises:
        UserError: it is not one of ours.
    """
    here = RECIPES.resolve()
    found = recipe.resolve()
    if found.parent.parent != here or found.suffix != ".yaml" or found.name == UNTRAINED or not found.is_file():
        raise UserError(f"--recipe {one_line(str(recipe))}: no such recipe; name {RECIPES}/MODEL/METHOD.yaml")
    return RECIPES / found.relative_to(here)


def records_trained(arguments: dict[str, Any]) -> int | None:
    """How many records a training used: those of its data sets, up to ``max_samples`` of each, less ``val_size``.

    LLaMA-Factory holds out a share (rounded up) or a number of them. None if the files are not here, or say otherwise.
    """
    try:
        folder = Path(str(arguments.get("dataset_dir") or "data"))
        registry = read_json(folder / "dataset_info.json", "", dict[str, dict[str, Any]])
        files = [folder / str(registry[name]["file_name"]) for name in data_sets(arguments)]
        most = arguments.get("max_samples")
        counts = [len(read_json(path, "", list[Any])) for path in files]
        total = sum(counts if most is None else (min(count, int(most)) for count in counts))
        held_out = float(arguments.get("val_size") or 0)
    except (UserError, LookupError, TypeError, ValueError, OSError):
        return None
    if not counts:
        return None
    return total - (int(held_out) if held_out > 1 else math.ceil(held_out * total))
