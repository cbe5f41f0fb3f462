"""Nested spans as in CMeEE (CBLUE): a JSON array, or JSON lines.

A sample record (``end_idx`` is the mention's last character, in CMeEE and CMeEE-V2)::

    {"text": "肺部病变较轻", "entities": [{"start_idx": 0, "end_idx": 1, "type": "bod", "entity": "肺部"},
                                    {"start_idx": 0, "end_idx": 3, "type": "sym", "entity": "肺部病变"}]}

``end: exclusive`` reads and writes the variant whose ``end_idx`` is the character behind the mention. A record of a
split without gold has no ``entities``.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ner_common.files import Opener
from ner_data.described import Corpus
from ner_data.formats import Sample
from ner_data.formats._records import (
    EXCLUSIVE,
    INCLUSIVE,
    SpanRecords,
    entity,
    fields_in,
    identity_in,
    list_in,
    text_in,
    write_array,
)
from ner_data.gold import Record

FORM = '{"start_idx": 0, "end_idx": 1, "type": "label", "entity": "surface"}'


@dataclass(frozen=True)
class Reader(SpanRecords):
    """See the module."""

    title = "nested spans as in CMeEE (CBLUE)"
    files = ".json"
    nested = True
    label_keys = frozenset({"type"})

    def sample(self, line: int, value: Any, gold: bool) -> Sample:
        text, identity = text_in(value), identity_in(value)
        if not gold:
            return Sample(line, text, None, identity=identity)
        other = EXCLUSIVE if self.inclusive else INCLUSIVE
        remedy = f"set `options: {{end: {other}}}`"
        spans = (
            fields_in(span, FORM, "start_idx", "end_idx", "type", "entity")
            for span in list_in(value, "entities", FORM)
        )
        entities = (entity(text, *span, inclusive=self.inclusive, remedy=remedy) for span in spans)
        return Sample(line, text, tuple(sorted(entities)), identity=identity)

    def write(self, records: Iterable[Record], target: Path, corpus: Corpus, write: Opener) -> None:
        write_array(target, ".json", map(self._value, records), write)

    def _value(self, record: Record) -> dict[str, Any]:
        value: dict[str, Any] = {"text": record.text}
        if record.entities is not None:
            value["entities"] = [
                {
                    "start_idx": found.start,
                    "end_idx": found.end - self.inclusive,
                    "type": found.label,
                    "entity": found.text,
                }
                for found in record.entities
            ]
        return value
