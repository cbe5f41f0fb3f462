"""Our own gold files, as ``data/gold`` has them: exact for whatever a corpus can hold.

A sample line (offsets are half-open; see `ner_data.gold`)::

    {"id": "a1", "text": "林晓来了", "entities": [{"start": 0, "end": 2, "label": "name", "text": "林晓"}]}
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from ner_common.decoding import NotJSON, decode_json
from ner_common.errors import one_line
from ner_common.files import Opener
from ner_data.described import Corpus
from ner_data.formats import Format, Piece, Sample
from ner_data.gold import Record, write_gold
from ner_data.source import Source


@dataclass(frozen=True)
class Reader(Format):
    """See the module."""

    title = "gold files of this project"
    files = ".jsonl"
    nested = True

    def pieces(self, source: Source) -> Iterator[Piece]:
        return (Piece(number, line) for number, line in source.written())

    def parse(self, piece: Piece, gold: bool) -> Sample:
        try:
            record = decode_json(piece.content, Record)
        except NotJSON:
            message = f"not JSON: {one_line(piece.content.strip(), 60)}"
            return Sample(piece.line, "", None, ("malformed JSON", message))
        except ValueError as error:
            return Sample(piece.line, "", None, ("malformed record", f"{error}; see `ner-data formats gold`"))
        if gold and record.entities is None:
            message = "has no gold (`entities` is null); set `gold: false` for a split without labels"
            return Sample(piece.line, record.text, None, ("no gold", message))
        entities = record.entities if gold else None
        return Sample(piece.line, record.text, entities, identity=record.id, source=record.source)

    def write(self, records: Iterable[Record], target: Path, corpus: Corpus, write: Opener) -> None:
        write_gold(target.with_name(f"{target.name}.jsonl"), records, write)
