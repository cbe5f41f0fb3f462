"""The first pass over a gold file: counts, hashes of texts and mentions, and what is odd in single records.

Records are decoded in pieces of the file and not kept: what stays is a few numbers per record, and the distinct
surfaces.
"""

from array import array
from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from ner_common.decoding import decode_json
from ner_common.errors import UserError, escaped, rooted
from ner_common.parallel import in_order
from ner_data.checking.characters import look_at
from ner_data.checking.mentions import inside_word, traits
from ner_data.checking.report import MOST, PLACES, Figures
from ner_data.gold import Entity, Record, bytes_of, pieces, records_of, remade

_SUMS = ("records", "unlabelled", "empty", "mentions", "characters", "touching", "same", "again", "wide", "narrow")
Spot = tuple[int, int, int]  # a record's number in its split, and the characters [start, end) of its text


@dataclass(slots=True)
class Scan:
    """What the first pass keeps of a split, or of a piece of it.

    Hashes are Python's own, which are the same in a process and in those that it forks.

    Attributes:
        figures: its counts.
        offsets: for each record, where its line starts in the file (bytes); ``lines``: the line's number.
        texts: a hash of its text; ``marks``: one of its mentions; ``ids``: one of its id.
        surfaces: how often each (surface, label) is annotated.
        odd: how many mentions (of characters: how many characters) have an oddity, by class and by what it is.
        spots: the first of them.
    """

    figures: Figures
    offsets: "array[int]" = field(default_factory=lambda: array("q"))
    lines: "array[int]" = field(default_factory=lambda: array("i"))
    texts: "array[int]" = field(default_factory=lambda: array("q"))
    marks: "array[int]" = field(default_factory=lambda: array("q"))
    ids: "array[int]" = field(default_factory=lambda: array("q"))
    surfaces: Counter[tuple[str, str]] = field(default_factory=Counter)
    odd: Counter[tuple[str, str]] = field(default_factory=Counter)
    spots: dict[tuple[str, str], list[Spot]] = field(default_factory=lambda: defaultdict(list))

    def add(self, other: "Scan", lines: int) -> None:
        """Add the records that follow, after so many lines."""
        base = len(self.texts)
        for name in ("offsets", "texts", "marks", "ids"):
            getattr(self, name).extend(getattr(other, name))
        self.lines.extend(array("i", [line + lines for line in other.lines]) if lines else other.lines)
        self.surfaces.update(other.surfaces)
        self.odd.update(other.odd)
        for key, spots in other.spots.items():
            room = _room(key[0]) - len(self.spots[key])
            self.spots[key].extend((number + base, start, end) for number, start, end in spots[:room])
        mine, theirs = self.figures, other.figures
        mine.sizes.update(theirs.sizes)
        mine.lengths.update(theirs.lengths)
        for name in _SUMS:
            setattr(mine, name, getattr(mine, name) + getattr(theirs, name))

    def spot(self, kind: str, what: str, number: int, start: int = 0, end: int = 0) -> None:
        """Note an oddity."""
        key = kind, what
        self.odd[key] += 1
        spots = self.spots[key]
        if len(spots) < _room(kind) and not (kind == "characters" and spots and spots[-1][0] == number):
            spots.append((number, start, end))


def _room(kind: str) -> int:
    """How many places are kept: of characters, which are one finding each, a few; of others, each is a finding."""
    return PLACES if kind == "characters" else MOST


def scan(path: Path, raw: str, workers: int, tick: Callable[[int], object]) -> Scan:
    """Scan a gold file whose raw file is ``raw``.

    Args:
        tick: is called with the bytes of every piece that was read.

    Raises:
        UserError: the file is missing or empty, a line is not a record, or an id is a duplicate.
    """
    result = Scan(Figures(raw))
    lines = 0
    for size, found, part in in_order(partial(_scanned, path), pieces(path), workers):
        result.add(part, lines)
        lines += found
        tick(size)
    for (_, label), mentions in result.surfaces.items():
        result.figures.labels[label] += mentions
    if not result.texts:
        raise UserError(f"{rooted(path)}: no records; {remade(path)}")
    _check_ids(path, result)
    return result


def _scanned(path: Path, piece: tuple[int, int]) -> tuple[int, int, Scan]:
    """Scan a piece: its bytes, its line ends, and what was found (lines count from the start of the piece)."""
    data = bytes_of(path, piece)
    records = records_of(path, piece)
    result = Scan(Figures(""))
    at = piece[0]
    for number, line in enumerate(data.split(b"\n"), start=1):
        if line and not line.isspace():
            result.offsets.append(at)
            result.lines.append(number)
        at += len(line) + 1
    texts = [record.text for record in records]
    result.texts.extend(map(hash, texts))
    result.ids.extend([hash(record.id) for record in records])
    result.marks.extend([hash(record.entities) for record in records])
    figures = result.figures
    lengths = [len(text) for text in texts]
    figures.records, figures.characters = len(texts), sum(lengths)
    figures.lengths.update(lengths)
    _count_mentions(result, records)
    figures.wide, figures.narrow, unusual = look_at(texts)
    for what, number, at in unusual:
        result.spot("characters", what, number, at, at + 1)
    return len(data), data.count(b"\n"), result


def _count_mentions(result: Scan, records: list[Record]) -> None:
    figures = result.figures
    found = [record.entities for record in records if record.entities is not None]
    figures.unlabelled = len(records) - len(found)
    figures.sizes.update(map(len, found))
    figures.empty = figures.sizes[0]
    result.surfaces.update([(entity.text, entity.label) for entities in found for entity in entities])
    figures.mentions = result.surfaces.total()
    shown = {surface: traits(surface) for surface, _ in result.surfaces}
    peculiar = {surface for surface, seen in shown.items() if seen.outer or seen.mixed or seen.word}
    for number, record in enumerate(records):
        if not record.entities:
            continue
        text, end, label, again = record.text, -1, "", False
        for entity in record.entities:
            surface = entity.text
            if entity.start <= end:
                if entity.start == end:
                    figures.touching += 1
                    figures.same += entity.label == label
                elif ("overlaps", "") not in result.spots or result.spots["overlaps", ""][-1][0] != number:
                    result.spot("overlaps", "", number, *_first_overlap(record.entities))
            end, label = entity.end, entity.label
            if surface in peculiar:
                _note(result, number, text, entity)
            if not again and text.count(surface) > 1:
                again = occurs_again(text, surface, record.entities)
        figures.again += again


def _note(result: Scan, number: int, text: str, entity: Entity) -> None:
    """Note what is odd about a mention."""
    seen = traits(entity.text)
    if seen.outer:
        result.spot("boundaries", seen.outer, number, entity.start, entity.end)
    if seen.mixed:
        result.spot("width", seen.mixed, number, entity.start, entity.end)
    if seen.word and inside_word(text, entity.start, entity.end):
        result.spot("half-words", "a boundary lies inside a word or number", number, entity.start, entity.end)


def _first_overlap(entities: tuple[Entity, ...]) -> tuple[int, int]:
    """The characters of the first mentions that overlap."""
    furthest = entities[0]
    for entity in entities[1:]:
        if entity.start < furthest.end:
            return furthest.start, max(furthest.end, entity.end)
        furthest = entity
    raise ValueError("no mentions overlap")


def occurs_again(text: str, surface: str, entities: tuple[Entity, ...]) -> bool:
    """Whether a surface is somewhere in a text where no mention shares a character with it."""
    at = text.find(surface)
    while at >= 0:
        end = at + len(surface)
        if all(entity.end <= at or end <= entity.start for entity in entities):
            return True
        at = text.find(surface, at + 1)
    return False


def _check_ids(path: Path, scanned: Scan) -> None:
    import numpy as np

    ids = np.array(scanned.ids, np.int64)
    _, first = np.unique(ids, return_index=True)
    if len(first) < len(ids):
        number = int(np.setdiff1d(np.arange(len(ids)), first)[0])
        with path.open("rb") as file:
            file.seek(scanned.offsets[number])
            record = decode_json(file.readline(), Record)
        where = f"{rooted(path)}:{scanned.lines[number]}"
        raise UserError(f"{where}: duplicate id {escaped(record.id)}; {remade(path)}")
