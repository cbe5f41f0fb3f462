"""Texts to extract from: text files (one text per line), JSON lines, CSV, standard input.

All are read as a stream, so endless input works.
"""

import csv
import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from ner_common.errors import UserError, one_line, rooted

FORMATS = ("text", "jsonl", "csv")
SUFFIXES = {".jsonl": "jsonl", ".ndjson": "jsonl", ".csv": "csv"}


@dataclass(frozen=True, slots=True)
class Document:
    """A text with its id (its own, or FILE:LINE) and the other fields of its record."""

    id: str
    text: str
    fields: dict[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        return self.id


def read_documents(name: str, form: str | None, column: str, whole: bool) -> Iterator[Document]:
    """Yield the texts of a file, or of standard input (``-``).

    Args:
        name: the file.
        form: one of `FORMATS`; by default from the file's suffix; text if the suffix is unknown.
        column: the field or column that holds the text.
        whole: a text file is one text, line breaks included.

    Raises:
        UserError: the file is missing or not UTF-8; a line is not JSON; a record has no such field.
    """
    form = form or SUFFIXES.get(Path(name).suffix.lower(), "text")
    shown = "<stdin>" if name == "-" else rooted(Path(name))
    read = {"text": _whole if whole else _text, "jsonl": _jsonl, "csv": _csv}[form]
    try:
        with _opened(name) as file:
            yield from read(file, shown, column)
    except UnicodeDecodeError as error:
        remedy = "convert it; from GBK with `iconv -f GB18030 -t UTF-8`"
        raise UserError(f"{shown}: not UTF-8 ({error.reason}); {remedy}") from None


@contextmanager
def _opened(name: str) -> Iterator[IO[str]]:
    if name == "-":
        # A duplicate: a thread that waits for input must not keep the interpreter from closing sys.stdin.
        yield os.fdopen(os.dup(sys.stdin.fileno()), encoding="utf-8-sig", newline="")
        return
    try:
        # newline="": a line separator inside a JSON string or a quoted CSV field does not end the line.
        with Path(name).open(encoding="utf-8-sig", newline="") as file:
            yield file
    except FileNotFoundError:
        raise UserError(f"{rooted(Path(name))}: no such file; name a file, or - for standard input") from None
    except IsADirectoryError:
        raise UserError(f"{rooted(Path(name))}: is a folder, not a file") from None


def _text(file: IO[str], shown: str, column: str) -> Iterator[Document]:
    for number, line in enumerate(file, start=1):
        if line.strip():
            yield Document(f"{shown}:{number}", line.rstrip("\r\n"))


def _whole(file: IO[str], shown: str, column: str) -> Iterator[Document]:
    text = file.read()
    if text.strip():
        yield Document(shown, text)


def _jsonl(file: IO[str], shown: str, column: str) -> Iterator[Document]:
    for number, line in enumerate(file, start=1):
        if not line.strip():
            continue
        where = f"{shown}:{number}"
        try:
            value = json.loads(line)
        except (ValueError, RecursionError):
            raise UserError(f"{where}: not JSON: {one_line(line, 60)}; fix or remove the line") from None
        if isinstance(value, str):
            yield Document(where, value)
        elif isinstance(value, dict) and isinstance(value.get(column), str):
            yield Document(str(value.get("id", where)), value[column], value)
        else:
            raise UserError(f"{where}: has no string {column!r}; name the field with --field")


def _csv(file: IO[str], shown: str, column: str) -> Iterator[Document]:
    reader = csv.DictReader(file)
    if column not in (reader.fieldnames or ()):
        known = ", ".join(reader.fieldnames or ()) or "none"
        raise UserError(f"{shown}: has no column {column!r}, only {known}; name it with --field")
    try:
        for row in reader:
            where = f"{shown}:{reader.line_num}"
            if row.get(column) is None or None in row:
                raise UserError(f"{where}: has more or fewer columns than the header; fix the line")
            yield Document(row.get("id") or where, row[column], row)
    except csv.Error as error:
        raise UserError(f"{shown}:{reader.line_num}: not CSV ({error}); fix the line") from None
