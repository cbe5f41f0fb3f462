"""Gold records: sentences and their entities with offsets, the source of truth for training and scoring.

One record per line in ``data/gold/<corpus>/<split>.jsonl``::

    {"id": "demo-train-1", "text": "林晓在云帆科技任经理", "entities":
        [{"start": 0, "end": 2, "label": "name", "text": "林晓"},
         {"start": 3, "end": 7, "label": "company", "text": "云帆科技"},
         {"start": 8, "end": 10, "label": "position", "text": "经理"}], "source": "train.json:1"}

Offsets are half-open and count characters (Unicode code points): ``text[start:end] == entity.text``.
A record without gold has ``"entities": null``: it can be predicted, but not trained on or scored. ``source`` says
where the raw data have the record: ``file:line``, or ``file:line:offset`` for a sentence cut from a longer text; files
written by earlier versions lack it.
"""

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import msgspec

from ner_common.errors import UserError, escaped, one_line, rooted
from ner_common.files import Opener, decode_lines, opened, text_lines, write_atomically


# Neither can hold itself, so the garbage collector need not look at them.
class Entity(msgspec.Struct, frozen=True, order=True, gc=False, forbid_unknown_fields=True):
    """A labelled mention: ``text[start:end]`` of its record is the mention's own ``text``."""

    start: int
    end: int
    label: str
    text: str

    def as_json(self) -> dict[str, Any]:
        return {"start": self.start, "end": self.end, "label": self.label, "text": self.text}


@dataclass(frozen=True, slots=True)
class Mention:
    """A mention in a model's answer: a label, a surface, and where this starts in the text if the answer says so."""

    label: str
    text: str
    start: int | None = None


@dataclass(frozen=True, slots=True)
class Parsed:
    """A model's answer read back: the mentions in order, and what is wrong with it (empty if nothing is)."""

    mentions: tuple[Mention, ...]
    problems: tuple[str, ...] = ()


class Record(msgspec.Struct, frozen=True, gc=False, forbid_unknown_fields=True, omit_defaults=True):
    """A sentence and its entities, sorted by position; ``entities`` is None for a sentence without gold.

    ``source`` says where the raw data have it (see above); it is "" if that is not known.

    Raises:
        ValueError: an offset out of range or reversed, or a surface that differs from its slice of the text.
    """

    id: str
    text: str
    entities: tuple[Entity, ...] | None
    source: str = ""

    def __post_init__(self) -> None:
        text, size, before = self.text, len(self.text), -1
        for entity in self.entities or ():
            start, end = entity.start, entity.end
            if not before < start < end <= size or text[start:end] != entity.text:
                return self._settle()
            before = start

    def _settle(self) -> None:
        """Sort the entities, or say which of them is wrong."""
        for entity in self.gold:
            where = f"entity {entity.label} [{entity.start}, {entity.end})"
            if not 0 <= entity.start < entity.end <= len(self.text):
                raise ValueError(f"{where} does not fit a text of {len(self.text)} characters")
            if (found := self.text[entity.start : entity.end]) != entity.text:
                raise ValueError(f"{where} says {one_line(entity.text)}, but the text has {one_line(found)} there")
        msgspec.structs.force_setattr(self, "entities", tuple(sorted(self.gold)))

    @property
    def gold(self) -> tuple[Entity, ...]:
        """The entities of a record that must have gold.

        Raises:
            ValueError: the record has none (``entities`` is null).
        """
        if self.entities is None:
            raise ValueError(f"record {self.id} has no gold entities")
        return self.entities


def read_gold(path: Path) -> Iterator[Record]:
    """Yield the records of a gold file, in order.

    Raises:
        UserError: the file is missing, empty or not UTF-8; a line is not a record; an id is a duplicate.
    """
    seen: set[str] = set()
    remedy = remade(path)
    for number, record in decode_lines(path, text_lines(path, remedy), remedy, Record):
        if record.id in seen:
            raise UserError(f"{rooted(path)}:{number}: duplicate id {escaped(record.id)}; {remedy}")
        seen.add(record.id)
        yield record


def remade(path: Path) -> str:
    """What to do about a gold file that cannot be used."""
    return f"run `make data CORPUS={path.parent.name}`"


PIECE = 4 << 20  # bytes


def pieces(path: Path) -> Iterator[tuple[int, int]]:
    """Cut a gold file at line ends: (offset, bytes) of parts of about `PIECE` bytes.

    Raises:
        UserError: the file is missing.
    """
    with opened(path, remade(path)) as file:
        start, size = 0, os.fstat(file.fileno()).st_size
        while start < size:
            file.seek(start + PIECE)
            file.readline()
            end = min(file.tell(), size)
            yield start, end - start
            start = end


def bytes_of(path: Path, piece: tuple[int, int]) -> bytes:
    """What is in a piece of a file."""
    with path.open("rb") as file:
        file.seek(piece[0])
        return file.read(piece[1])


def records_of(path: Path, piece: tuple[int, int]) -> list[Record]:
    """The records in one of the `pieces` of a gold file, in less time than `read_gold` takes.

    Raises:
        UserError: a line is not a record. Duplicate ids are not looked for.
    """
    data = bytes_of(path, piece)
    try:
        return _DECODER.decode_lines(data)
    except (msgspec.DecodeError, UnicodeDecodeError):
        pass
    # Line by line, with all that `read_gold` forgives and says.
    before = sum(bytes_of(path, other).count(b"\n") for other in pieces(path) if other[0] < piece[0])
    lines = data.count(b"\n") + (not data.endswith(b"\n"))
    remedy = remade(path)
    numbered = islice(text_lines(path, remedy), before, before + lines)
    return [record for _, record in decode_lines(path, numbered, remedy, Record)]


_DECODER = msgspec.json.Decoder(Record)
_ENCODER = msgspec.json.Encoder()


def encode_lines(records: list[Record]) -> bytes:
    """The lines of a gold file, each with its line end."""
    return _ENCODER.encode_lines(records)


def write_gold(path: Path, records: Iterable[Record], write: Opener = write_atomically) -> int:
    """Write a gold file (all or nothing) and return the number of records."""
    count = 0
    with write(path) as file:
        for record in records:
            file.write(encode_lines([record]).decode())
            count += 1
    return count
