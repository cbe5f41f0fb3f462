"""Texts to extract from: text files (one text per line), JSON lines, CSV, standard input.

All are read as a stream, so endless input works.
"""

import asyncio
import csv
import os
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from ner_common.decoding import NotJSON, decode_json
from ner_common.errors import UserError, escaped, one_line, rooted

FORMATS = ("text", "jsonl", "csv")
SUFFIXES = {".jsonl": "jsonl", ".ndjson": "jsonl", ".json": "jsonl", ".csv": "csv"}
# fmt: off
OTHERS = {
    ".tsv", ".xls", ".xlsx", ".ods", ".parquet", ".doc", ".docx", ".odt", ".rtf", ".ppt", ".pptx", ".pdf", ".epub",
    ".htm", ".html", ".xml", ".yaml", ".yml", ".toml", ".zip", ".tar", ".gz", ".tgz", ".bz2", ".xz", ".7z", ".rar",
}
# fmt: on
# How files begin (in lower case) that no suffix tells from text; JSON is looked at more closely.
BEGINNINGS = {
    "%pdf-": "a PDF file",
    "{\\rtf": "an RTF file",
    "<!doctype html": "an HTML page",
    "<html": "an HTML page",
}
BINARY = "a binary file, not text (it has a zero byte); export it as text, JSON lines or CSV"
EXPORT = "export it as text, JSON lines or CSV"
READ_AHEAD = 256  # texts


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
        UserError: the file is missing, binary or not UTF-8; a line is not JSON; a record has no such field.
    """
    suffix = Path(name).suffix.lower()
    # A file's name need not be UTF-8, but it becomes a part of ids.
    shown = "<stdin>" if name == "-" else rooted(Path(name)).encode("utf-8", "replace").decode()
    if not form and suffix in OTHERS and Path(name).is_file():
        raise UserError(f"{shown}: a {suffix} file is not read; {EXPORT}, or say what it holds with --format")
    sure = form or suffix in SUFFIXES
    form = form or SUFFIXES.get(suffix, "text")
    read = {"text": _whole if whole else _text, "jsonl": _jsonl, "csv": _csv}[form]
    try:
        with _opened(name) as file:
            for document in read(file, shown, column):
                if not sure:
                    _refuse_other(document.text, shown)
                    sure = True
                yield document
    except UnicodeDecodeError as error:
        if b"\0" in error.object:
            raise UserError(f"{shown}: {BINARY}") from None
        remedy = "convert it; from GBK with `iconv -f GB18030 -t UTF-8`"
        raise UserError(f"{shown}: not UTF-8 ({error.reason}); {remedy}") from None


@contextmanager
def _opened(name: str) -> Iterator[IO[str]]:
    if name == "-":
        if sys.stdin is None:
            raise UserError("standard input is closed; name a file")
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
        _refuse_binary(line, f"{shown}:{number}")
        if line.strip():
            yield Document(f"{shown}:{number}", line.rstrip("\r\n"))


def _whole(file: IO[str], shown: str, column: str) -> Iterator[Document]:
    text = file.read()
    _refuse_binary(text, shown)
    if text.strip():
        yield Document(shown, text)


def _refuse_other(beginning: str, shown: str) -> None:
    """Refuse text that is another format by its first line (or as a whole), if nobody said that it is text."""
    start = beginning.lstrip()
    kind = next((kind for begin, kind in BEGINNINGS.items() if start[:20].lower().startswith(begin)), None)
    if start in ("[", "{", "[{") or (start[:1] in ("[", "{") and _is_json(start)):
        kind = "JSON"
    if kind:
        raise UserError(f"{shown}: looks like {kind}, not like text; say what it holds with --format, or {EXPORT}")


def _is_json(text: str) -> bool:
    try:
        return isinstance(decode_json(text), list | dict)
    except ValueError:
        return False


def _refuse_binary(text: str, where: str) -> None:
    if "\0" in text:
        raise UserError(f"{where}: {BINARY}")


def _jsonl(file: IO[str], shown: str, column: str) -> Iterator[Document]:
    for number, line in enumerate(file, start=1):
        if not line.strip():
            continue
        where = f"{shown}:{number}"
        try:
            value = decode_json(line)
        except NotJSON as error:
            remedy = "write one JSON object or string per line, for example with `jq -c`, or fix the line"
            raise UserError(f"{where}: not JSON ({error}): {one_line(line, 60)}; {remedy}") from None
        except ValueError as error:
            raise UserError(f"{where}: {error}: {one_line(line, 60)}; fix or remove the line") from None
        if isinstance(value, str):
            yield Document(where, value)
        elif isinstance(value, dict) and isinstance(value.get(column), str):
            id = value.get("id")
            yield Document(where if id in (None, "") else str(id), value[column], value)
        elif isinstance(value, list):
            remedy = "write one JSON object or string per line, for example with `jq -c '.[]'`"
            raise UserError(f"{where}: is a JSON array; {remedy}")
        else:
            raise UserError(f"{where}: has no string {column!r}; name the field with --field")


def _csv(file: IO[str], shown: str, column: str) -> Iterator[Document]:
    reader = csv.DictReader(file, strict=True)  # strict: an open quote would swallow the rest of the file
    try:
        names = reader.fieldnames or ()
        known = escaped(", ".join(names) or "none", 200)
        if column not in names:
            raise UserError(f"{shown}: has no column {column!r}, only {known}; name it with --field")
        if len(set(names)) < len(names):
            raise UserError(f"{shown}: two columns have one name ({known}); rename one")
        for row in reader:
            where = f"{shown}:{reader.line_num}"
            if row.get(column) is None or None in row:
                raise UserError(f"{where}: has more or fewer columns than the header; fix the line")
            _refuse_binary(row[column], where)
            yield Document(row.get("id") or where, row[column], row)
    except csv.Error as error:
        raise UserError(f"{shown}:{reader.line_num}: not CSV ({error}); fix the line") from None


async def in_thread(documents: Iterator[Document]) -> AsyncIterator[tuple[Document, str]]:
    """Read in a daemon thread: a slow pipe must delay neither the answers nor the program's exit."""
    loop = asyncio.get_running_loop()
    queue: asyncio.Queue[Document | Exception | None] = asyncio.Queue()
    room = threading.Semaphore(READ_AHEAD)

    def read() -> None:
        last: Exception | None = None
        # The loop is closed if the program ends before its input.
        with suppress(RuntimeError):
            try:
                for document in documents:
                    room.acquire()
                    loop.call_soon_threadsafe(queue.put_nowait, document)
            except Exception as error:  # raised below
                last = error
            loop.call_soon_threadsafe(queue.put_nowait, last)

    threading.Thread(target=read, daemon=True).start()
    while (item := await queue.get()) is not None:
        if isinstance(item, Exception):
            raise item
        room.release()
        yield item, item.text
