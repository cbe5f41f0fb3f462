"""The reference of the recipes: what each model's methods have in common, and in which values they differ."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from ner_docs.text import cell, table

RECIPES = Path(__file__).resolve().parents[2] / "recipes"
WORDS = {
    "en": ("key", "value", "what the recipe says of it", "The same in all methods of a model", "differs"),
    "zh": ("参数", "取值", "配方中的说明", "同一模型各方法中相同的参数", "因模型而异"),
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
    """One table of keys with their explanations, then each model: what its recipes are for and where they differ."""
    return "\n".join(_lines(WORDS[language]))


def _lines(words: tuple[str, ...]) -> Iterator[str]:
    recipes = {model.name: methods(model) for model in models()}
    every = [values for found in recipes.values() for values in found.values()]
    keys = list(dict.fromkeys(key for values in every for key in values))
    yield f"## {words[3]}\n"
    same = [key for key in keys if all(_same(found, key) for found in recipes.values())]
    said = _comments()
    rows = ([f"`{key}`", _values([values.get(key) for values in every], words[4]), said.get(key, "")] for key in same)
    yield from table([words[0], words[1], words[2]], rows)
    for name, found in recipes.items():
        yield f"\n## {name}\n"
        for method in found:
            first = (RECIPES / name / f"{method}.yaml").read_text("utf-8").splitlines()[0]
            yield f"- `{method}`: {first.removeprefix('# ')}"
        differing = [key for key in keys if key not in same and any(key in values for values in found.values())]
        yield ""
        columns = [[_shown(values.get(key)) for values in found.values()] for key in differing]
        yield from table([words[0], *found], ([f"`{key}`", *row] for key, row in zip(differing, columns, strict=True)))


def _same(found: dict[str, dict[str, Any]], key: str) -> bool:
    return len({str(values.get(key)) for values in found.values()}) <= 1


def _values(given: list[Any], differs: str) -> str:
    known = sorted({_shown(value) for value in given if value is not None})
    return known[0] if len(known) == 1 else f"{differs}: {', '.join(known)}" if len(known) < 4 else differs


def _shown(value: Any) -> str:
    return "–" if value is None else f"`{str(value).lower() if isinstance(value, bool) else cell(str(value))}`"


def _comments() -> dict[str, str]:
    """What the first recipe that says something about a key says about it."""
    said: dict[str, str] = {}
    for path in sorted(RECIPES.glob("qwen2-7b/*.yaml")) + sorted(RECIPES.glob("*/*.yaml")):
        for key, _, comment in LINE.findall(path.read_text("utf-8")):
            if comment and path.stem not in ("model", "merge"):
                said.setdefault(key, cell(comment))
    return said
