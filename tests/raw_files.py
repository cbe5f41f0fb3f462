"""Reading and writing of raw files by a module of `ner_data.formats`, as tests do it."""

from collections.abc import Iterable
from contextlib import AbstractContextManager
from pathlib import Path
from types import ModuleType
from typing import IO

from ner_data.described import Corpus
from ner_data.formats import Sample
from ner_data.gold import Record
from ner_data.source import Source


def read(format: ModuleType, path: Path, gold: bool, encoding: str = "utf-8", **options: object) -> list[Sample]:
    """All samples of a file."""
    return list(format.Reader(**options).read(Source(path, encoding), gold))


def written(format: ModuleType, records: Iterable[Record], folder: Path, **options: object) -> list[Path]:
    """The files that a format writes, sorted."""

    def write(path: Path) -> AbstractContextManager[IO[str]]:
        return path.open("w", encoding="utf-8", newline="\n")

    format.Reader(**options).write(records, folder / "a", Corpus("mine", "Mine", "here", "CC0", "gold", {}, ()), write)
    return sorted(folder.glob("a.*"))
