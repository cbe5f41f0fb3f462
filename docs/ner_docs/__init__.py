"""The pages of the documentation: what `make docs` gives to the site generator.

Hand-written pages are in docs/en and docs/zh, under the same names. A line ``<!-- generated: KIND WORDS -->`` in them
stands for what is written from the code (`GENERATED`), so a reference cannot go stale::

    .venv/bin/python docs/ner_docs site/pages
"""

import re
import shutil
from collections.abc import Callable
from pathlib import Path

from ner_docs import api, commands, files, messages, recipes, targets

ROOT = Path(__file__).resolve().parents[2]
LANGUAGES = ("en", "zh")
# KIND -> the Markdown that replaces the line, made from its words.
GENERATED: dict[str, Callable[..., str]] = {
    "commands": commands.page,
    "recipes": recipes.page,
    "targets": targets.page,
    "api": api.page,
    "file": files.page,
    "messages": messages.page,
}
LINE = re.compile(r"^<!-- generated: ([^\n]+) -->$", re.MULTILINE)
# A line break between Chinese characters or punctuation, which browsers would show as a space.
BREAK = re.compile(r"(?<=[\u3000-\u303f\u4e00-\u9fff\uff00-\uffef])\n *(?=[\u4e00-\u9fff“（《])")


def names(language: str) -> list[str]:
    """The pages of a language, as paths below its folder."""
    folder = ROOT / "docs" / language
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*.md"))


def page(language: str, name: str) -> str:
    """A page with everything generated in place."""

    def generated(line: re.Match[str]) -> str:
        kind, *words = line[1].split()
        return GENERATED[kind](*words, language=language).rstrip()

    return LINE.sub(generated, BREAK.sub("", (ROOT / "docs" / language / name).read_text("utf-8")))


def assemble(target: Path) -> int:
    """Write the pages of both languages, and the pictures that they show, below ``target``; returns their number."""
    shutil.rmtree(target, ignore_errors=True)
    count = 0
    for language in LANGUAGES:
        for name in names(language):
            path = target / language / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(page(language, name), "utf-8")
            count += 1
        for picture in (ROOT / "docs").glob("*.png"):
            shutil.copy(picture, target / language / files.FOLDER / picture.name)
    return count
