"""CLUENER JSON lines, as published by CLUEbenchmark/CLUENER2020.

A sample line (end offsets are inclusive; a label may have several surfaces, a surface several places)::

    {"text": "林晓在云帆科技任经理", "label": {"name": {"林晓": [[0, 1]]}, "company": {"云帆科技": [[3, 6]]}}}

A line of a split without gold has no ``label``, and usually an ``id``.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from ner_common.decoding import convert, decode_json, has_lone_surrogate
from ner_common.errors import one_line
from ner_common.files import Opener
from ner_data.described import Corpus
from ner_data.formats import Format, Piece, Sample
from ner_data.gold import Entity, Record
from ner_data.source import Source

Labels = dict[str, dict[str, list[tuple[int, int]]]]
_STRING = re.compile(r'"(?:[^"\\]|\\.)*+"(\s*+:)?', re.DOTALL)


@dataclass(frozen=True)
class Reader(Format):
    """See the module."""

    title = "CLUENER JSON lines (CLUEbenchmark/CLUENER2020)"
    files = ".json"
    nested = True

    def pieces(self, source: Source) -> Iterator[Piece]:
        return (Piece(number, line) for number, line in source.lines() if line.strip())

    def parse(self, piece: Piece, gold: bool) -> Sample:
        return _sample(piece.line, piece.content, gold)

    def write(self, records: Iterable[Record], target: Path, corpus: Corpus, write: Opener) -> None:
        with write(target.with_name(f"{target.name}.json")) as file:
            for record in records:
                value: dict[str, Any] = {"id": record.id, "text": record.text}
                if record.entities is not None:
                    value["label"] = _labels(record.entities)
                file.write(msgspec.json.encode(value).decode() + "\n")


def _labels(entities: Iterable[Entity]) -> Labels:
    labels: Labels = {}
    for entity in entities:
        labels.setdefault(entity.label, {}).setdefault(entity.text, []).append((entity.start, entity.end - 1))
    return labels


class _Line(msgspec.Struct, forbid_unknown_fields=True):
    text: str
    label: Labels
    id: str | int | None = None


def _plain(number: int, line: str) -> Sample | None:
    """Read a line as nearly all are: no escapes, only the known keys, and all entities where they should be."""
    if "\\" in line:
        return None
    try:
        value = _DECODER.decode(line)
    except (msgspec.DecodeError, UnicodeEncodeError, RecursionError):
        return None
    text, labels = value.text, value.label
    # A key that is there twice has quotes that belong to nothing that was read.
    strings = 3 + len(labels) + sum(map(len, labels.values())) + isinstance(value.id, str) + ('"id"' in line)
    if line.count('"') != 2 * strings or not text.strip():
        return None
    entities = []
    for label, surfaces in labels.items():
        for surface, places in surfaces.items():
            for start, end in places:
                if not 0 <= start <= end < len(text) or text[start : end + 1] != surface:
                    return None
                entities.append(Entity(start, end + 1, label, surface))
    entities.sort()
    return Sample(number, text, tuple(entities), identity=value.id)


_DECODER = msgspec.json.Decoder(_Line)


def _sample(number: int, line: str, gold: bool) -> Sample:
    """Read one line."""
    if gold and (found := _plain(number, line)):
        return found
    try:
        value = decode_json(line)
    except ValueError:
        return Sample(number, "", None, ("malformed JSON", f"not JSON: {one_line(line.strip(), 60)}"))
    if has_lone_surrogate(line.encode()):
        message = "a \\ud800 to \\udfff without its other half is no character"
        return Sample(number, "", None, ("lone surrogate", message), labels=_names(value))
    if sum(map(bool, _STRING.findall(line))) != _keys(value):
        return Sample(number, "", None, ("duplicate key", "a key is there more than once"), labels=_names(value))
    if not isinstance(value, dict) or not isinstance(value.get("text"), str) or not value["text"].strip():
        return Sample(number, "", None, ("no text", 'the line needs a non-empty string "text"'), labels=_names(value))
    text, identity = value["text"], value.get("id")
    if not isinstance(identity, str | int | None) or isinstance(identity, bool):
        message = f"the id {one_line(identity)} is neither a string nor an integer"
        return Sample(number, text, None, ("malformed id", message), labels=_names(value))
    if not gold:
        return Sample(number, text, None, identity=identity)
    try:
        labels = convert(value.get("label"), Labels)
    except ValueError:
        form = 'needs "label": {label: {surface: [[start, end], ...]}}; set `gold: false` for a split without labels'
        return Sample(number, text, None, ("malformed label", form), labels=_names(value))
    try:
        return Sample(number, text, tuple(sorted(_entities(text, labels))), identity=identity)
    except ValueError as error:
        reason, message = error.args
        return Sample(number, text, None, (reason, message), labels=_names(value))


def _keys(value: Any) -> int:
    """How many keys all objects in a decoded value have."""
    if isinstance(value, dict):
        return len(value) + sum(map(_keys, value.values()))
    return sum(map(_keys, value)) if isinstance(value, list) else 0


def _names(value: Any) -> frozenset[str]:
    """The labels of a line that cannot be used."""
    labels = value.get("label") if isinstance(value, dict) else None
    return frozenset(label for label in labels if labels[label]) if isinstance(labels, dict) else frozenset()


def _entities(text: str, labels: Labels) -> Iterator[Entity]:
    for label, surfaces in labels.items():
        for surface, places in surfaces.items():
            for start, end in places:
                where = f"{label} {one_line(surface)} at [{start}, {end}]"
                if start > end:
                    raise ValueError("reversed offsets", f"{where}: the start is after the end")
                if start < 0 or end >= len(text):
                    raise ValueError("offsets out of range", f"{where}: the text has {len(text)} characters")
                if text[start : end + 1] != surface:
                    there = one_line(text[start : end + 1])
                    raise ValueError(
                        "offsets do not match", f"{where}, but the text has {there} there (ends are inclusive)"
                    )
                yield Entity(start, end + 1, label, surface)
