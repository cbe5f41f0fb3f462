"""Records by their number in a split, read again from the gold file when a finding names them."""

from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import IO

from ner_common.decoding import decode_json
from ner_common.errors import rooted
from ner_data.checking.report import Place
from ner_data.checking.scanning import Scan, Spot
from ner_data.gold import Record


class Places:
    """The records of all splits; a context manager that keeps the files open."""

    def __init__(self, paths: dict[str, Path], scans: dict[str, Scan]) -> None:
        self.scans = scans
        self._paths = paths
        self._stack = ExitStack()
        self._files: dict[str, IO[bytes]] = {}

    def __enter__(self) -> "Places":
        self._files = {split: self._stack.enter_context(path.open("rb")) for split, path in self._paths.items()}
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()

    def record(self, split: str, number: int) -> Record:
        """A record."""
        file = self._files[split]
        file.seek(self.scans[split].offsets[number])
        return decode_json(file.readline(), Record)

    def at(self, split: str, spot: Spot) -> Place:
        """Where a record, and the characters of it, are in the raw data."""
        number, start, end = spot
        record = self.record(split, number)
        # Files of earlier versions do not say.
        source = record.source or f"{rooted(self._paths[split])}:{self.scans[split].lines[number]}"
        return Place(split, source, record.id, record.text, start, end)

    def each(self, split: str, spots: Iterable[Spot]) -> Iterator[Place]:
        """Several of a split."""
        return (self.at(split, spot) for spot in spots)

    def file(self, split: str) -> Place:
        """A raw file as a whole."""
        return Place(split, self.scans[split].figures.file)
