"""JSON lines of doccano, sequence labelling, as it exports and imports them.

A sample line, and the same one from a project with relations::

    {"id": 1, "text": "林晓在云帆科技任经理", "label": [[0, 2, "name"], [3, 7, "company"]]}
    {"id": 1, "text": "林晓在云帆科技任经理", "relations": [],
     "entities": [{"id": 5, "label": "name", "start_offset": 0, "end_offset": 2}]}

Older versions write ``labels`` or ``entities`` with such lists, ``data`` for ``text``, and ``label`` with ``entities``
and ``relations`` in it. Ends are exclusive. A line of a split without gold has none of these keys.

doccano counts as JavaScript does: a character beyond U+FFFF, an emoji, is two. Mentions behind one are counted in the
report; ``offsets: characters`` reads files that a Python program made. The lines do not say what the mentions are, so
nothing shows the wrong choice, or a project that counts grapheme clusters as one: look at `ner-data preview`.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ner_common.errors import one_line
from ner_common.files import Opener
from ner_data.described import Corpus
from ner_data.formats import Sample
from ner_data.formats._records import (
    KEPT,
    NO_GOLD,
    Bad,
    JSONRecords,
    chosen,
    entity,
    fields_in,
    from_utf16,
    identity_in,
    list_in,
    text_in,
    utf16_offset,
    utf16_places,
    write_lines,
)
from ner_data.gold import Entity, Record

FORM = '[start, end, "label"] or {"start_offset": 0, "end_offset": 2, "label": "label"}'
KEYS = ("label", "labels", "entities")
RELATIONS = "relations (skipped)"
UNITS = "mentions behind characters beyond U+FFFF (offsets counted in UTF-16, as doccano does)"


@dataclass(frozen=True)
class Reader(JSONRecords):
    """See the module."""

    offsets: str = "utf16"

    title = "doccano JSON lines"
    files = ".jsonl"
    nested = True
    policies = (*KEPT, "Relations are skipped, and counted.")
    label_keys = frozenset({"label"})

    def __post_init__(self) -> None:
        chosen("offsets", self.offsets, "utf16", "characters")

    def sample(self, line: int, value: Any, gold: bool) -> Sample:
        is_old = isinstance(value, dict) and "text" not in value and "data" in value
        text, identity = text_in(value, "data" if is_old else "text"), identity_in(value)
        if not gold:
            return Sample(line, text, None, identity=identity)
        spans, relations = _spans(value)
        places = utf16_places(text) if self.offsets == "utf16" else []
        entities = sorted(_entity(text, span, places) for span in spans)
        first = places.index(-1) if places else len(text) + 1
        moved = sum(found.end >= first for found in entities)
        repairs = (RELATIONS,) * relations + (UNITS,) * moved
        return Sample(line, text, tuple(entities), repairs=repairs, identity=identity)

    def write(self, records: Iterable[Record], target: Path, corpus: Corpus, write: Opener) -> None:
        write_lines(target, ".jsonl", map(self._value, records), write)

    def _value(self, record: Record) -> dict[str, Any]:
        value: dict[str, Any] = {"id": record.id, "text": record.text}
        if record.entities is not None:
            value["label"] = [
                [self._offset(record.text, found.start), self._offset(record.text, found.end), found.label]
                for found in record.entities
            ]
        return value

    def _offset(self, text: str, place: int) -> int:
        return utf16_offset(text, place) if self.offsets == "utf16" else place


def _entity(text: str, span: Any, places: list[int]) -> Entity:
    """The mention of a span; ``places``: see `from_utf16`."""
    if isinstance(span, list) and len(span) == 3:
        start, end, label = span
    else:
        start, end, label = fields_in(span, FORM, "start_offset", "end_offset", "label")
    return entity(text, *from_utf16(places, start, end), label)


def _spans(value: dict[str, Any]) -> tuple[list[Any], int]:
    """The spans of a line, and how many relations it has."""
    keys = [key for key in KEYS if key in value]
    if len(keys) > 1:
        raise Bad("malformed entities", f"has {' and '.join(keys)}: which one is it? remove the others")
    if not keys and "annotations" in value:
        message = "has annotations, with numbers for labels; export as JSONL with text labels"
        raise Bad("numbers for labels", message)
    if not keys:
        raise Bad("no gold", f"has none of {', '.join(KEYS)}, a list of {FORM}; {NO_GOLD}")
    holder, key = value, keys[0]
    if isinstance(value[key], dict):
        holder, key = value[key], "entities"
    relations = holder.get("relations") or []
    if not isinstance(relations, list):
        raise Bad("malformed entities", f"relations must be a list, not {one_line(relations)}")
    return list_in(holder, key, FORM), len(relations)
