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

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from operator import ge
from pathlib import Path
from typing import Any

import msgspec

from ner_common.errors import UserError, escaped, one_line, rooted
from ner_common.files import Opener, decode_lines, text_lines, write_atomically


class Entity(msgspec.Struct, frozen=True, order=True, forbid_unknown_fields=True):
    """A labelled mention: ``text[start:end]`` of its record is the mention's own ``text``."""

    start: int
    end: int
    label: str
    text: str

    def as_json(self) -> dict[str, Any]:
        return {"start": self.start, "end": self.end, "label": self.label, "text": self.text}


@dataclass(frozen=True, slots=True)
class Mention:
    """A mention in a model's answer: a label, a surface, and where this starts in the text if the answer says so.

    ``written``: where the answer names it (`ner_data.answers.AnswerForm.parse`), as half-open character offsets.
    """

    label: str
    text: str
    start: int | None = None
    written: tuple[tuple[int, int], ...] = field(default=(), compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Parsed:
    """A model's answer read back: the mentions in order, and what is wrong with it (empty if nothing is)."""

    mentions: tuple[Mention, ...]
    problems: tuple[str, ...] = ()


class Record(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
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
        if self.entities is None:
            return
        for entity in self.entities:
            fits = 0 <= entity.start < entity.end <= len(self.text)
            if fits and self.text[entity.start : entity.end] == entity.text:
                continue
            where = f"entity {entity.label} [{entity.start}, {entity.end})"
            if not fits:
                raise ValueError(f"{where} does not fit a text of {len(self.text)} characters")
            found = self.text[entity.start : entity.end]
            raise ValueError(f"{where} says {one_line(entity.text)}, but the text has {one_line(found)} there")
        starts = [entity.start for entity in self.entities]
        if any(map(ge, starts, starts[1:])):  # usually already in order
            msgspec.structs.force_setattr(self, "entities", tuple(sorted(self.entities)))

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
    yield from decode_gold(path, text_lines(path, _remedy(path)))


def _remedy(path: Path) -> str:
    return f"run `make data CORPUS={path.parent.name}`"


def decode_gold(path: Path, lines: Iterable[tuple[int, str]]) -> Iterator[Record]:
    """Yield the records of some lines of a gold file, in order; raises what `read_gold` raises."""
    seen: set[str] = set()
    for number, record in decode_lines(path, lines, _remedy(path), Record):
        if record.id in seen:
            raise UserError(f"{rooted(path)}:{number}: duplicate id {escaped(record.id)}; {_remedy(path)}")
        seen.add(record.id)
        yield record


_ENCODER = msgspec.json.Encoder()


def encode(record: Record) -> bytes:
    """The line of a gold file, without its line end."""
    return _ENCODER.encode(record)


def write_gold(path: Path, records: Iterable[Record], write: Opener = write_atomically) -> int:
    """Write a gold file (all or nothing) and return the number of records."""
    count = 0
    with write(path) as file:
        for record in records:
            file.write(encode(record).decode() + "\n")
            count += 1
    return count
