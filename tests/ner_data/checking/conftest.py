"""Small gold files of a corpus with the labels a and b, written as `ner-data convert` writes them."""

from collections.abc import Callable
from pathlib import Path

import pytest

from ner_data.gold import Entity, Record, write_gold

# A text with its mentions in brackets, label first: "[a:林晓]来了".
Marked = str
DESCRIPTION = """name: tiny
title: Tiny
source: a test
licence: Apache-2.0
format: gold
splits:
  train: {file: train.raw}
  dev: {file: dev.raw}
labels:
  a: {name: 甲}
  b: {name: 乙}
"""


def record(identity: str, marked: Marked | None, source: str) -> Record:
    """The record of a marked text; brackets and label are no part of it."""
    text, entities = "", []
    for part in (marked or "").replace("]", "[").split("["):
        label, colon, surface = part.partition(":")
        if colon and label in ("a", "b"):
            entities.append(Entity(len(text), len(text) + len(surface), label, surface))
            part = surface
        text += part
    return Record(identity, text, tuple(entities), source)


@pytest.fixture
def gold(workplace: Path) -> Callable[..., Path]:
    """Write the gold files of `tiny`: ``gold(train=["[a:林晓]来了"], dev=[…])``; dev has a text of its own by default."""

    def write(**splits: list[Marked]) -> Path:
        Path("data/corpora/tiny.yaml").write_text(DESCRIPTION, "utf-8")
        for split, texts in {"dev": ["[a:周明]走了，[b:天安门]"], **splits}.items():
            records = [record(f"{split}-{n}", text, f"{split}.raw:{n}") for n, text in enumerate(texts, start=1)]
            write_gold(Path(f"data/gold/tiny/{split}.jsonl"), records)
        return Path("data/gold/tiny")

    return write
