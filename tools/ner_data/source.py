"""A raw file as its reader gets it: decoded line by line, with one clear error for what is no text."""

import codecs
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import IO

import msgspec

from ner_common.decoding import not_json
from ner_common.errors import UserError, escaped, one_line, rooted
from ner_common.files import is_gbk, opened

ENCODINGS = ("utf-8", "gb18030", "utf-16", "big5")
LONGEST = 32 << 20  # bytes of a line; the longest document of a corpus has a few hundred thousand
WHOLE = 1 << 30  # bytes of a file that can only be read as one document
REMEDY = "name the folder that has it with --raw DIR"
_CHUNK = 1 << 20
# First bytes of files that people take for text.
_BINARY = {
    b"PK\x03\x04": "a ZIP archive or an Excel workbook; unpack it, or save the sheet as CSV UTF-8",
    b"\xd0\xcf\x11\xe0": "an old Excel workbook or Word document; save the sheet as CSV UTF-8",
    b"%PDF": "a PDF document; export its text",
    b"\x1f\x8b": "compressed with gzip; unpack it",
    b"SQLi": "an SQLite database; export its table as CSV",
    b"PAR1": "a Parquet file; name the format hf_datasets, which reads it",
    b"ARRO": "an Arrow file; name the format hf_datasets, which reads it",
}
_UTF16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


class Unreadable(UserError):
    """A raw file, or a line of it (from 1; 0: the whole), that cannot be read; ``problem`` has the remedy."""

    def __init__(self, path: Path, line: int, problem: str) -> None:
        super().__init__(f"{rooted(path)}{f':{line}' if line else ''}: {problem}")
        self.path, self.line, self.problem = path, line, problem


@dataclass(frozen=True, slots=True)
class Source:
    """One raw file, or the folder of a split for formats that have a file per document.

    Attributes:
        path: the file or folder.
        encoding: one of `ENCODINGS`; ``gb18030`` reads GBK and GB2312 too.
        tags: a second file with the tags, for formats that keep them apart.
        tick: called with a number of bytes whenever so many have been read.
    """

    path: Path
    encoding: str = "utf-8"
    tags: Path | None = None
    tick: Callable[[int], object] = lambda _: None

    def beside(self, path: Path) -> "Source":
        """Another file, of the same encoding."""
        return replace(self, path=path, tags=None)

    def lines(self) -> Iterator[tuple[int, str]]:
        """Yield (number from 1, line) without LF or CRLF, blank lines too; the file is never in memory as a whole.

        Only LF ends a line: the strings of JSON may contain U+2028 and the like. A byte-order mark is dropped.

        Raises:
            UserError: the file is missing, a folder, empty, or of another encoding; or a line has NUL bytes, ends in
                CR alone, or is longer than `LONGEST`.
        """
        first, blank = 1, True
        with opened(self.path, REMEDY) as file:
            for block in self._blocks(file):
                for number, line in enumerate(self._decoded(first, block), start=first):
                    blank = blank and not line.strip()
                    yield number, line
                first = number + 1
        if blank:
            raise self.wrong(0, f"the file is empty; {REMEDY}")

    def written(self) -> Iterator[tuple[int, str]]:
        """The `lines` that are not blank."""
        return ((number, line) for number, line in self.lines() if line.strip())

    def text(self) -> str:
        """The whole file, each line ending in LF.

        Raises:
            UserError: see `lines`; or it is larger than `WHOLE`.
        """
        with opened(self.path, REMEDY) as file:
            size = file.seek(0, 2)
        if size > WHOLE:
            problem = f"{size:,} bytes in one document, more than {WHOLE:,}"
            raise self.wrong(0, f"{problem}; cut it into several files, or into JSON lines")
        return "\n".join(line for _, line in self.lines()) + "\n"

    def items(self) -> Iterator[tuple[int, str]]:
        """Yield (line, JSON) of the items of a JSON array over any number of lines, or of the lines of JSON lines.

        A file whose first character is ``[`` and whose first line is not an array by itself that more lines follow, is
        one document: it is in memory as a whole. JSON lines are not, whatever they hold.

        Raises:
            UserError: see `lines` and `text`; or the document is no JSON array.
        """
        first = next(self.written(), (1, ""))
        if first[1].lstrip().startswith("[") and not self._is_lines():
            yield from self._array()
            return
        yield from self.written()

    def wrong(self, line: int, problem: str) -> Unreadable:
        """The error of a line (0: of the file) that ends the reading; ``problem`` has the remedy."""
        return Unreadable(self.path, line, problem)

    def _blocks(self, file: IO[bytes]) -> Iterator[bytes]:
        """Whole lines, about a megabyte of them: in UTF-8 if the file is UTF-16, otherwise as they are in the file."""
        start = file.read(4)
        file.seek(0)
        if self.encoding == "utf-16" and not start.startswith(tuple(_BINARY)):
            yield from self._from_utf16(file)
            return
        if what := next((words for magic, words in _BINARY.items() if start.startswith(magic)), None):
            raise self.wrong(0, f"is {what}")
        if start[:2] in _UTF16:
            raise self.wrong(0, "is UTF-16; use `--encoding utf-16`, or convert it to UTF-8")
        if start[:3] == codecs.BOM_UTF8:
            file.seek(3)
        number = 1
        while data := file.read(_CHUNK):
            data += file.readline(LONGEST + 1)
            last = data.rfind(b"\n", 0, -1) + 1
            if len(data) - last > LONGEST:
                number += data.count(b"\n", 0, last)
                raise self.wrong(number, f"a line of more than {LONGEST:,} bytes; is this a text file with lines?")
            number += data.count(b"\n")
            self.tick(len(data))
            yield data

    def _from_utf16(self, file: IO[bytes]) -> Iterator[bytes]:
        decoder = codecs.getincrementaldecoder("utf-16")()
        rest, number = "", 1
        while True:
            data = file.read(_CHUNK)
            try:
                rest += decoder.decode(data, final=not data)
            except UnicodeError as error:
                problem = str(error).partition(": ")[2] or str(error)
                raise self.wrong(number, f"not UTF-16 ({problem}); name its encoding with `--encoding`") from None
            lines, end, rest = rest.rpartition("\n")
            if end:
                number += lines.count("\n") + 1
                yield (lines + end).encode("utf-8", "surrogatepass")
            if len(rest) > LONGEST:
                raise self.wrong(
                    number, f"a line of more than {LONGEST:,} characters; is this a text file with lines?"
                )
            if not data:
                break
            self.tick(len(data))
        if rest:
            yield rest.encode("utf-8", "surrogatepass")

    def _decoded(self, number: int, block: bytes) -> Iterable[str]:
        """The lines of a block, the first of which has a number."""
        encoding = "utf-8" if self.encoding == "utf-16" else self.encoding
        try:
            text = block.decode(encoding).replace("\r\n", "\n")
        except UnicodeDecodeError:
            text = "\0"
        if "\0" not in text and "\r" not in text:
            return text.removesuffix("\n").split("\n")
        lines = block.removesuffix(b"\n").split(b"\n")  # one of them is wrong; those before it are read
        return (self._line(at, line, encoding) for at, line in enumerate(lines, start=number))

    def _line(self, number: int, data: bytes, encoding: str) -> str:
        try:
            line = data.removesuffix(b"\r").decode(encoding)
        except UnicodeDecodeError as error:
            raise self.wrong(number, self._undecodable(data, error.start)) from None
        if "\0" in line:
            problem = "has a NUL, as UTF-16 without a byte-order mark and binary files have"
            raise self.wrong(number, f"{problem}: {one_line(line[:40])}; convert the file to UTF-8")
        if "\r" in line:
            raise self.wrong(number, "a carriage return inside the line; convert the file's line ends to LF")
        return line

    def _undecodable(self, data: bytes, at: int) -> str:
        problem = f"not {self.encoding.upper()} at byte {at} of the line"
        if self.encoding != "utf-8":
            return f"{problem}; name its encoding with `--encoding` ({', '.join(ENCODINGS)})"
        if not is_gbk(data):
            return f"{problem}; convert the file to UTF-8, or name its encoding with `--encoding`"
        return f"{problem}; it looks like GBK: use `--encoding gb18030`, or `iconv -f GB18030 -t UTF-8`"

    def _is_lines(self) -> bool:
        """Whether the first two lines with text are JSON values, each by itself.

        A single line is not: it is an array of all items, or a single record that is an array.
        """
        lines = list(islice(self.written(), 2))
        try:
            for _, line in lines:
                msgspec.json.decode(line)
        except (msgspec.DecodeError, UnicodeEncodeError, RecursionError):
            return False
        return len(lines) == 2

    def _array(self) -> Iterator[tuple[int, str]]:
        data = self.text().removesuffix("\n").encode("utf-8", "surrogatepass")
        try:
            items = msgspec.json.decode(data, type=list[msgspec.Raw])
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            wrong = not_json(error, data)
            problem = f"not a JSON array ({escaped(str(wrong))}); correct it there, or write JSON lines"
            raise self.wrong(wrong.line, problem) from None
        at, line = 0, 1
        for item in items:
            raw = bytes(item)
            found = data.index(raw, at)
            line += data.count(b"\n", at, found)
            yield line, raw.decode()
            line += raw.count(b"\n")
            at = found + len(raw)
