"""CLUENER JSON lines, as published by CLUEbenchmark/CLUENER2020.

A sample line (end offsets are inclusive; a label may have several surfaces, a surface several places)::

    {"text": "林晓在云帆科技任经理", "label": {"name": {"林晓": [[0, 1]]}, "company": {"云帆科技": [[3, 6]]}}}

A line of a split without gold has no ``label``, and usually an ``id``.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from ner_common.decoding import convert, decode_json
from ner_common.errors import one_line
from ner_common.files import Opener
from ner_data.described import Corpus
from ner_data.formats import Format, Piece, Sample
from ner_data.formats._records import NO_GOLD, Bad, check_strings, identity_in
from ner_data.gold import Entity, Record
from ner_data.source import Source

Labels = dict[str, dict[str, list[tuple[int, int]]]]


@dataclass(frozen=True)
class Reader(Format):
    """See the module."""

    title = "CLUENER JSON lines (CLUEbenchmark/CLUENER2020)"
    files = ".json"
    nested = True

    def pieces(self, source: Source) -> Iterator[Piece]:
        return (Piece(number, line) for number, line in source.written())

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
    try:
        check_strings(line, value)
        if not isinstance(value, dict) or not isinstance(value.get("text"), str) or not value["text"].strip():
            raise Bad("no text", 'the line needs a non-empty string "text"')
        text, identity = value["text"], identity_in(value)
        if not gold:
            return Sample(number, text, None, identity=identity)
        return Sample(number, text, tuple(sorted(_entities(text, _checked(value.get("label"))))), identity=identity)
    except Bad as bad:
        return Sample(number, "", None, bad.problem, labels=_names(value))


def _checked(labels: Any) -> Labels:
    try:
        return convert(labels, Labels)
    except ValueError:
        form = f'needs "label": {{label: {{surface: [[start, end], ...]}}}}; {NO_GOLD}'
        raise Bad("malformed label", form) from None


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
                    raise Bad("reversed offsets", f"{where}: the start is after the end")
                if start < 0 or end >= len(text):
                    raise Bad("offsets out of range", f"{where}: the text has {len(text)} characters")
                if text[start : end + 1] != surface:
                    there = one_line(text[start : end + 1])
                    raise Bad("offsets do not match", f"{where}, but the text has {there} there (ends are inclusive)")
                yield Entity(start, end + 1, label, surface)
