"""A table with the text in one column and its spans in another: CSV, also as Excel exports and reads it.

A sample file::

    id,text,entities
    1,林晓在云帆科技任经理,"[[0, 2, ""name""], [3, 7, ""company""]]"

The first row has the names of the columns; ``text`` and ``entities`` are options. The delimiter is the ``,``, ``;`` or
tab with which the first row has the column of the text; Excel may name it in a line before, ``sep=;``. Rows whose
cells are all empty (``,,``), which Excel leaves at the end, are skipped and counted. Spans are JSON: ``[start, end,
"label"]``, or objects with ``start`` and ``end`` (or ``start_offset`` and ``end_offset``) and ``label`` or ``labels``,
as Label Studio's CSV has them; if they have ``text`` too, it is compared. Ends are exclusive, and offsets count
characters; a line break in a cell is one, whether it is written as CR LF or LF. ``[]`` has no mentions; an empty cell
has no gold, unless the row has an ``annotation_id``: Label Studio writes annotations without regions so.

Files are written with a byte-order mark, without which Excel does not read them as UTF-8.
"""

import csv
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from ner_common.decoding import decode_json
from ner_common.errors import escaped, one_line
from ner_common.files import Opener
from ner_data.described import Corpus
from ner_data.formats import Format, Piece, Sample
from ner_data.formats._records import KEPT, NO_GOLD, Bad, check_strings, entity, fields_in, labels_in
from ner_data.formats._skipping import EMPTY, with_skipped
from ner_data.gold import Entity, Record
from ner_data.source import Source

DELIMITERS = ",;\t"
_DELIMITER = re.compile(r'"?sep=(?P<delimiter>[,;\t|])"?', re.IGNORECASE)
ROW = 2 << 20  # characters; a longer row has a quote that nothing closes
FORM = '[[0, 2, "label"], ...]'
OBJECT = '[start, end, "label"] or {"start": 0, "end": 2, "label": "label"}'
QUOTES = (
    'cells with the delimiter, a quote or a line break need quotes around them, and quotes in them are doubled ("")'
)


@dataclass(frozen=True)
class Reader(Format):
    """See the module."""

    text: str = "text"
    entities: str = "entities"

    title = "CSV with a column of spans (Excel)"
    files = ".csv"
    nested = True
    policies = (*KEPT, "Rows whose cells are all empty are skipped, and counted.")

    def pieces(self, source: Source) -> Iterator[Piece]:
        """The names of the columns and the cells of each row.

        Raises:
            UserError: see `Source.lines`; the first row does not have the column of the text; or the quotes are wrong.
        """
        csv.field_size_limit(2 * ROW)
        lines = ((number, line) for number, line in source.lines())
        written = ((number, line) for number, line in lines if line.strip())
        number, header = next(written, (1, ""))
        delimiters = DELIMITERS
        if named := _DELIMITER.fullmatch(header):
            delimiters = named["delimiter"]
            number, header = next(written, (number, ""))
        delimiter, columns = self._header(source, number, header, delimiters)
        rows = (row for row in _rows(source, lines, number, delimiter) if row[1])
        for (start, row), skipped in with_skipped((row, not any(map(str.strip, row[1]))) for row in rows):
            yield Piece(start, (columns, row, skipped))

    def _header(self, source: Source, number: int, header: str, delimiters: str) -> tuple[str, tuple[str, ...]]:
        """The delimiter, one of some, and the names of the columns."""
        found = []
        for delimiter in delimiters:
            try:
                (names,) = csv.reader([header], delimiter=delimiter, strict=True)
            except (csv.Error, ValueError):
                continue
            if self.text in names:
                found.append((delimiter, tuple(names)))
        if not found:
            problem = f"the first row has no column {one_line(self.text)}: {one_line(header)}"
            raise source.wrong(number, f"{problem}; name it with `options: {{text: COLUMN}}`")
        delimiter, columns = max(found, key=lambda pair: len(pair[1]))
        for name in ("id", self.text, self.entities):
            if columns.count(name) > 1:
                raise source.wrong(number, f"several columns are called {one_line(name)}; give them different names")
        return delimiter, columns

    def parse(self, piece: Piece, gold: bool) -> Sample:
        columns, row, skipped = piece.content
        sample = self._sample(piece.line, columns, row, gold)
        return msgspec.structs.replace(sample, skipped=(EMPTY,) * skipped) if skipped else sample

    def _sample(self, line: int, columns: tuple[str, ...], row: list[str], gold: bool) -> Sample:
        named: set[str] = set()
        try:
            if len(row) != len(columns):
                message = f"has {len(row)} columns, but the first row has {len(columns)}: {one_line(row)}; {QUOTES}"
                raise Bad("wrong number of columns", message)
            cells = dict(zip(columns, row, strict=True))
            text, identity = cells[self.text], cells.get("id") or None
            if not text.strip():
                raise Bad("no text", f"the cell of {one_line(self.text)} is empty")
            if not gold:
                return Sample(line, text, None, identity=identity)
            spans = self._spans(cells)
            named = labels_in(spans, frozenset({"label", "labels"}))
            entities = sorted(found for span in spans for found in _entities(text, span))
            return Sample(line, text, tuple(entities), identity=identity)
        except Bad as bad:
            return Sample(line, "", None, bad.problem, labels=frozenset(named))

    def _spans(self, cells: dict[str, str]) -> list[Any]:
        if self.entities not in cells:
            problem = f"there is no column {one_line(self.entities)}, only {escaped(', '.join(cells))}"
            raise Bad("no gold", f"{problem}; name it with `options: {{entities: COLUMN}}`, or {NO_GOLD}")
        cell = cells[self.entities]
        if not cell.strip() and cells.get("annotation_id"):
            return []
        if not cell.strip():
            raise Bad(
                "no gold", f"the cell of {one_line(self.entities)} is empty; write [] for no entities, or {NO_GOLD}"
            )
        try:
            spans = decode_json(cell)
        except ValueError:
            raise Bad("malformed entities", f"the spans must be JSON, {FORM}, not {one_line(cell)}") from None
        if not isinstance(spans, list):
            raise Bad("malformed entities", f"the spans must be a list, {FORM}, not {one_line(cell)}")
        check_strings(cell, spans)
        return spans

    def refusal(self, record: Record) -> tuple[str, str] | None:
        if not record.text.strip():
            return "no text", "has no text but white space"
        if found := next((character for character in record.text if character in "\r\0"), ""):
            return (
                "control character",
                f"has {one_line(found)} at character {record.text.index(found)}, which CSV cannot hold",
            )
        return None

    def write(self, records: Iterable[Record], target: Path, corpus: Corpus, write: Opener) -> None:
        with write(target.with_name(f"{target.name}.csv")) as file:
            file.write("\ufeff")
            writer = csv.writer(file)
            writer.writerow(["id", self.text, self.entities])
            for record in records:
                writer.writerow([record.id, record.text, _cell(record)])


def _cell(record: Record) -> str:
    if record.entities is None:
        return ""
    return msgspec.json.encode([[found.start, found.end, found.label] for found in record.entities]).decode()


def _rows(
    source: Source, lines: Iterator[tuple[int, str]], last: int, delimiter: str
) -> Iterator[tuple[int, list[str]]]:
    """The (line number, cells) of the rows after line ``last``; no cells for a blank line."""
    size = 0

    def feed() -> Iterator[str]:
        nonlocal last, size
        for number, line in lines:
            last, size = number, size + len(line) + 1
            if size > ROW:
                raise source.wrong(start, f"a row of more than {ROW:,} characters: is a quote not closed? {QUOTES}")
            yield line + "\n"

    reader = csv.reader(feed(), delimiter=delimiter, strict=True)
    while True:
        start, size = last + 1, 0
        try:
            row = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            raise source.wrong(start, f"the row that starts here has wrong quotes ({error}); {QUOTES}") from None
        yield start, row


def _entities(text: str, span: Any) -> Iterator[Entity]:
    """The mention of a span; of one with several labels, a mention of each."""
    if isinstance(span, list) and len(span) == 3:
        start, end, label = span
        yield entity(text, start, end, label)
        return
    keys = ("start_offset", "end_offset") if isinstance(span, dict) and "start_offset" in span else ("start", "end")
    start, end = fields_in(span, OBJECT, *keys)
    labels = span["labels"] if "labels" in span else fields_in(span, OBJECT, "label")
    if not isinstance(labels, list) or not labels:
        raise Bad("malformed label", f"labels must be a list with labels, not {one_line(labels)}")
    surface = span.get("text")
    if not isinstance(surface, str | None):
        raise Bad("malformed entities", f"the text of a span must be a string, not {one_line(surface)}")
    for label in labels:
        yield entity(text, start, end, label, surface)
