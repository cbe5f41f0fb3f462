"""The reference of the recipes: every key, and the values that vary between models and methods."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from ner_docs.text import cell, table
from ner_models.base_models import KEYS

RECIPES = Path(__file__).resolve().parents[2] / "recipes"
WORDS = {
    "en": ("key", "values", "what the recipes say of it", "All keys", "see below", "what it is"),
    "zh": ("参数", "取值", "配方中的说明", "全部参数", "见下文", "含义"),
}
LINE = re.compile(r"^(\w+): *((?:\"[^\"]*\"|[^#\n])*?)(?: +# *(.*))?$", re.MULTILINE)


def models() -> list[Path]:
    """The folders of base models."""
    return sorted(path.parent for path in RECIPES.glob("*/model.yaml"))


def methods(model: Path) -> dict[str, dict[str, Any]]:
    """The recipes of a model: method -> its values."""
    files = (path for path in sorted(model.glob("*.yaml")) if path.stem not in ("model", "merge"))
    return {path.stem: yaml.safe_load(path.read_text("utf-8")) for path in files}


def page(language: str = "en") -> str:
    """All keys with their explanations, then each model: what its recipes are for, and the values that vary."""
    return "\n".join(_lines(WORDS[language]))


def _lines(words: tuple[str, ...]) -> Iterator[str]:
    found = {model.name: methods(model) for model in models()}
    values: dict[str, list[str]] = {}
    for recipe in (recipe for recipes in found.values() for recipe in recipes.values()):
        for key, value in recipe.items():
            values.setdefault(key, []).append(_shown(value))
    said = _comments()
    yield f"## {words[3]}\n"
    yield from table(list(words[:3]), (_row(key, given, said.get(key, ""), words[4]) for key, given in values.items()))
    yield "\n## model.yaml\n"
    yield from table([words[0], words[5]], ([f"`{key}`", meaning] for key, (_, meaning) in KEYS.items()))
    for name, recipes in found.items():
        yield f"\n## {name}\n"
        for method in recipes:
            first = (RECIPES / name / f"{method}.yaml").read_text("utf-8").splitlines()[0]
            yield f"- `{method}`: {first.removeprefix('# ')}"
        yield ""
        varying = [key for key in values if len(set(values[key])) > 1 or key not in recipes["lora"]]
        rows = ([f"`{key}`", *(_shown(recipe.get(key)) for recipe in recipes.values())] for key in varying)
        yield from table([words[0], *recipes], (row for row in rows if set(row[1:]) != {"–"}))


def _row(key: str, given: list[str], said: str, varies: str) -> list[str]:
    """A key, its values in all recipes if they are few, and what is said of it, if that is not of one recipe only."""
    known = sorted(set(given))
    return [f"`{key}`", *((", ".join(known), said) if len(known) < 4 else (varies, ""))]


def _shown(value: Any) -> str:
    return "–" if value is None else f"`{str(value).lower() if isinstance(value, bool) else cell(str(value))}`"


def _comments() -> dict[str, str]:
    """What the first recipe that says something about a key says about it."""
    said: dict[str, str] = {}
    paths = [
        RECIPES / "qwen2-7b/lora.yaml",
        *sorted(RECIPES.glob("qwen2-7b/*.yaml")),
        *sorted(RECIPES.glob("*/*.yaml")),
    ]
    for path in paths:
        for key, _, comment in LINE.findall(path.read_text("utf-8")):
            if comment and path.stem not in ("model", "merge"):
                said.setdefault(key, cell(comment))
    return said
