"""Checks that a recipe, and what overrides it, agrees with model.yaml: a copied folder still names the first model."""

import os
from contextlib import suppress
from pathlib import Path
from typing import Any

from ner_common.errors import UserError, one_line, rooted
from ner_common.files import read_yaml

MODEL_FILE = "model.yaml"
# Where a recipe writes, or finds the adapter that it merges: saves/MODEL/METHOD/CORPUS.
FOLDERS = ("output_dir", "adapter_name_or_path")


def recipe_problems(recipe: Path) -> list[str]:
    """Where a recipe and the description of its model contradict each other; none if there is no such description.

    Raises:
        UserError: there is no such recipe, or one of the two files is not YAML.
    """
    described = recipe.with_name(MODEL_FILE)
    if recipe.suffix not in (".yaml", ".yml") or not described.is_file():
        return []
    given, model = (read_yaml(path, "correct it, or copy one that works") for path in (recipe, described))
    for path, value in ((recipe, given), (described, model)):
        if not isinstance(value, dict):
            return [f"{rooted(path)}: not a mapping of names to values; copy one that works"]
    problems = [
        f"{name} is {one_line(given[name])} here and {one_line(model[key])} in {rooted(described)}; make them the same"
        for name, key in (("model_name_or_path", "weights"), ("template", "template"))
        if name in given and key in model and not same(given[name], model[key])
    ]
    own = recipe.absolute().parent
    for name in FOLDERS:
        other = model_of(given.get(name))
        if other and other != own.name and (own.parent / other / MODEL_FILE).is_file():
            instead = str(given[name]).replace(f"saves/{other}", f"saves/{own.name}")
            problems.append(f"{name} names the model {other}; write {instead}")
    problems += forgotten_weights(described, model, own.name)
    return [f"{rooted(recipe)}: " + "; ".join(problems)] if problems else []


def template_problem(model: Any, template: Any) -> str | None:
    """Why a base model of ours must not be used with this chat template: servers ask with its own.

    Args:
        model, template: the arguments that are in effect, after all overrides; no template: the tokenizer's own.
    """
    if template is None:
        return None
    named = {path: known for path, weights, known in described_models() if same_folder(weights, model)}
    if not named or any(same(template, known) for known in named.values()):
        return None
    path, known = next(iter(named.items()))
    return (
        f"template is {one_line(template)}, but servers ask {one_line(model)} with its own chat template, "
        f"{one_line(known)} in {path}; leave template out, or copy the weights to a folder of their own, write the "
        "other template into chat_template there, and describe that model in recipes/MODEL/model.yaml"
    )


def described_models() -> list[tuple[Path, str, str]]:
    """The file, weights and template of each model.yaml; a broken one must not keep other models from training."""
    found = []
    for path in sorted(Path("recipes").glob(f"*/{MODEL_FILE}")):
        with suppress(UserError, OSError):
            model = read_yaml(path, "correct it")
            if isinstance(model, dict) and model.get("weights") and model.get("template"):
                found.append((path, str(model["weights"]), str(model["template"])))
    return found


def same_folder(one: Any, other: Any) -> bool:
    """Whether two paths lead to the same folder, however they are written."""
    with suppress(ValueError):  # a NUL
        return os.path.realpath(str(one)) == os.path.realpath(str(other))
    return False


def same(one: Any, other: Any) -> bool:
    """Whether two values name the same folder or template."""
    return isinstance(one, str) and isinstance(other, str) and Path(one) == Path(other)


def model_of(folder: Any) -> str | None:
    """MODEL of a folder saves/MODEL/…"""
    parts = Path(folder).parts if isinstance(folder, str) else ()
    return parts[1] if len(parts) > 1 and parts[0] == "saves" else None


def forgotten_weights(described: Path, model: dict[str, Any], name: str) -> list[str]:
    """The problem, if there are weights in models/MODEL and model.yaml names others that no step makes of them."""
    own = Path("models") / name
    weights = model.get("weights")
    if model.get("after_download") or not (own / "config.json").is_file() or same(weights, str(own)):
        return []
    problem = f"weights: {one_line(weights)}, but there is a model in {own}"
    return [f"{rooted(described)} says {problem}; name that, or move it away"]
