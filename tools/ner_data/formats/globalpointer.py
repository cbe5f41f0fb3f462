"""Span lists, as the data loaders of GlobalPointer (bojone/GlobalPointer) hold them: JSON lines, or an array.

A sample record (the end is the mention's last character)::

    ["林晓在云帆科技任经理", [0, 1, "name"], [3, 6, "company"], [8, 9, "position"]]

The records do not say what the mentions are, so nothing shows which ends a file has, except a mention of one character
or at the end of a text. Without one, ``ner-data init`` asks for ``--format globalpointer --option end=inclusive`` or
``end=exclusive``; `ner-data preview` shows what becomes of them. A record without mentions and one of a split without
gold look the same.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from ner_common.errors import one_line
from ner_common.files import Opener
from ner_data.described import Corpus
from ner_data.formats import Piece, Sample
from ner_data.formats._records import Bad, SpanRecords, entity, write_lines
from ner_data.gold import Entity, Record
from ner_data.source import Source

FORM = '["text", [start, end, "label"], ...]'


@dataclass(frozen=True)
class Reader(SpanRecords):
    """See the module."""

    title = "lists of a text and its spans (GlobalPointer)"
    files = ".jsonl"
    nested = True

    def pieces(self, source: Source) -> Iterator[Piece]:
        lines = list(islice(source.written(), 2))
        if len(lines) == 1 and lines[0][1].lstrip()[1:].lstrip().startswith('"'):  # one record, not an array of them
            return iter([Piece(*lines[0])])
        return super().pieces(source)

    def sample(self, line: int, value: Any, gold: bool) -> Sample:
        if not isinstance(value, list) or not value:
            raise Bad("malformed record", f"a record must be {FORM}, not {one_line(value)}")
        text, *spans = value
        if not isinstance(text, str) or not text.strip():
            raise Bad("no text", f"a record starts with its text, a non-empty string, not {one_line(text)}")
        if not gold:
            return Sample(line, text, None)
        return Sample(line, text, tuple(sorted(self._entity(text, span) for span in spans)))

    def _entity(self, text: str, span: Any) -> Entity:
        if not isinstance(span, list) or len(span) != 3:
            raise Bad("malformed entities", f'each entity must be [start, end, "label"], not {one_line(span)}')
        start, end, label = span
        return entity(text, start, end, label, inclusive=self.inclusive)

    def write(self, records: Iterable[Record], target: Path, corpus: Corpus, write: Opener) -> None:
        write_lines(target, ".jsonl", map(self._value, records), write)

    def _value(self, record: Record) -> list[Any]:
        last = int(self.inclusive)
        return [record.text, *([found.start, found.end - last, found.label] for found in record.entities or ())]
