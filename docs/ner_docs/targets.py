"""The reference of make: targets and variables, read from the Makefile."""

import re
from collections.abc import Iterator
from pathlib import Path

from ner_docs.text import cell, table

MAKEFILE = Path(__file__).resolve().parents[2] / "Makefile"
TARGET = re.compile(r"^([a-z0-9-]+):.*?## (.*)$")
VARIABLE = re.compile(r"^([A-Z_]+) *\?= *(.*?)# *(.*)$", re.MULTILINE)
WORDS = {
    "en": ["target", "what it does", "variable", "default", "meaning", "Variables"],
    "zh": ["目标", "作用", "变量", "默认值", "含义", "变量"],
}


def page(language: str = "en") -> str:
    """Every target in the groups of `make help`, then the variables that have a description."""
    return "\n".join(_lines(MAKEFILE.read_text("utf-8"), WORDS[language]))


def _lines(makefile: str, words: list[str]) -> Iterator[str]:
    for group in makefile.split("\n##@ ")[1:]:
        title, *lines = group.splitlines()
        found = [TARGET.match(line) for line in lines]
        yield f"## {title}\n"
        yield from table(words[:2], ([f"`make {line[1]}`", cell(line[2])] for line in found if line))
        yield ""
    yield f"## {words[5]}\n"
    given = VARIABLE.findall(makefile)
    yield from table(words[2:5], ([f"`{name}`", _default(value), cell(text)] for name, value, text in given))


def _default(value: str) -> str:
    return f"`{value.strip()}`" if value.strip() and "$" not in value else ""
