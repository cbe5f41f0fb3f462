"""brat standoff: a folder with a ``.txt`` and an ``.ann`` for each document; ``file:`` of a split names the folder.

A sample: ``1.txt`` and ``1.ann`` (the columns of the latter are separated by tabs)::

    林晓在云帆科技任经理

    T1	name 0 2	林晓
    T2	company 3 7	云帆科技
    R1	works_for Arg1:T1 Arg2:T2

Ends are exclusive, and offsets count characters, a line break as one; in documents with CR LF line ends whose offsets
count two, which the texts of the mentions tell, they are converted, and counted. The last line end of a document is
dropped. Documents in folders below are read too, in the order of their names; files whose names start with a dot are
not.

Several fragments (``0 2;5 7``) with only line breaks, tabs and spaces between them are a mention across lines, as brat
writes it; with other text between them the mention is discontinuous, and the document is refused. Only ``T`` lines are
read, triggers of events too; all others are counted. A document without ``.ann`` has no gold.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

from ner_common.errors import UserError, one_line, rooted
from ner_common.files import Opener
from ner_data.described import Corpus
from ner_data.formats import ONCE, Format, Piece, Sample
from ner_data.formats._records import NO_GOLD, Bad, entity
from ner_data.gold import Entity, Record
from ner_data.source import REMEDY, Source, Unreadable

OTHERS = "relations, events, attributes and notes (skipped)"
CRLF = "documents whose offsets count CR LF as two characters (converted)"
_OTHER = re.compile(r"[REAMN#]\S*\t|\*\t")
_SPANS = re.compile(r"(\S+) ([0-9]{1,9} [0-9]{1,9}(?:;[0-9]{1,9} [0-9]{1,9})*)")
_LABEL = re.compile(r"T\S*\t(\S+) ")
_SPACE = re.compile(r"\s+")


class _Document(NamedTuple):
    """A document as its files have it: no text if these cannot be read, no rows if there is no ``.ann``.

    ``problem``: why they cannot be read, and where: the ``line`` of a ``file``, if it is not the document's first one.
    """

    text: str | None
    rows: list[tuple[int, str]] | None
    problem: str = ""
    file: str = ""
    line: int = 1


@dataclass(frozen=True)
class Reader(Format):
    """See the module."""

    title = "brat standoff: a folder of .txt and .ann"
    files = "folder"
    nested = True
    policies = (
        "Touching, nested and crossing mentions are kept; a document with a discontinuous mention is refused.",
        "A mention across line breaks is written as fragments, as brat does.",
        ONCE,
    )

    def pieces(self, source: Source) -> Iterator[Piece]:
        """The text and the annotations of each document.

        Raises:
            UserError: there is no such folder, or no document in it.
        """
        if not source.path.is_dir():
            problem = "is a file; name the folder with the .txt and .ann files"
            problem = problem if source.path.exists() else f"no such folder; {REMEDY}"
            raise UserError(f"{rooted(source.path)}: {problem}")
        names = {
            path.relative_to(source.path).as_posix()[: -len(path.suffix)]
            for path in source.path.rglob("*")
            if path.suffix in (".txt", ".ann") and path.is_file() and not _is_hidden(path.relative_to(source.path))
        }
        if not names:
            raise UserError(f"{rooted(source.path)}: no .txt in this folder; brat has a .txt and an .ann per document")
        for name in sorted(names):
            yield Piece(1, _document(source, name), f"{name}.txt")

    def parse(self, piece: Piece, gold: bool) -> Sample:
        document: _Document = piece.content
        rows = document.rows or []
        try:
            if document.text is None:
                raise Bad("unreadable document", document.problem)
            if not document.text.strip():
                raise Bad("no text", "the document has no text but white space")
            if not gold:
                return Sample(1, document.text, None, file=piece.file)
            if document.rows is None:
                partner = one_line(f"{piece.file[:-4]}.ann")
                message = f"there is no {partner}; make an empty file for a document without entities, or {NO_GOLD}"
                raise Bad("no gold", message)
            entities, repairs = _entities(document.text, rows)
            return Sample(1, document.text, tuple(sorted(entities)), repairs=repairs, file=piece.file)
        except Bad as bad:
            labels = frozenset(match[1] for _, row in rows if (match := _LABEL.match(row)))
            file = document.file or piece.file
            return Sample(document.line, "", None, bad.problem, labels=labels, file=file)

    def refusal(self, record: Record) -> tuple[str, str] | None:
        if not record.text.strip():
            return "no text", "has no text but white space"
        if found := re.search("[\r\0]|^\ufeff", record.text):
            return "control character", f"has {one_line(found[0])} at character {found.start()}, which readers change"
        for mention in record.entities or ():
            if re.search(r"\s", mention.label):
                return "label with a space", f"has the label {one_line(mention.label)}, but in brat it ends at a space"
            if any(start == end for start, end in _fragments(mention.text)):
                message = f"the mention {one_line(mention.text)} starts or ends with a line break or tab"
                return "line break at the end of a mention", message
        return None

    def write(self, records: Iterable[Record], target: Path, corpus: Corpus, write: Opener) -> None:
        for number, record in enumerate(records, start=1):
            name = f"{number:07}-{re.sub(r'[^0-9A-Za-z_.-]', '_', record.id)[:80]}"
            with write(target / f"{name}.txt") as file:
                file.write(record.text + "\n")
            if record.entities is not None:
                with write(target / f"{name}.ann") as file:
                    file.writelines(f"T{at}\t{_spans(found)}\n" for at, found in enumerate(record.entities, start=1))


def _is_hidden(path: Path) -> bool:
    return any(part.startswith(".") for part in path.parts)


def _document(source: Source, name: str) -> _Document:
    """Read the files of a document."""
    text, annotations = (source.path / f"{name}.{suffix}" for suffix in ("txt", "ann"))
    try:
        name.encode()
        if not text.is_file():
            return _Document(None, None, f"there is an .ann, but no {one_line(text.name)}")
        rows = list(source.beside(annotations).lines()) if _has_text(annotations) else []
        content = source.beside(text).text().removesuffix("\n") if _has_text(text) else ""
        return _Document(content, rows if annotations.is_file() else None)
    except UnicodeEncodeError:
        return _Document(None, None, "its name is not UTF-8; rename the file")
    except Unreadable as error:
        file = error.path.relative_to(source.path).as_posix()
        return _Document(None, None, error.problem, file, error.line or 1)


def _has_text(path: Path) -> bool:
    """Whether a file is there and not blank: an empty ``.ann`` is a document without entities."""
    return path.is_file() and (path.stat().st_size > 1000 or bool(path.read_bytes().strip()))


def _entities(text: str, rows: list[tuple[int, str]]) -> tuple[list[Entity], tuple[str, ...]]:
    """The mentions of a document, and the policies that were applied."""
    wanted = [(number, row) for number, row in rows if row.strip() and not _OTHER.match(row)]
    skipped = sum(bool(_OTHER.match(row)) for _, row in rows)
    repairs = (OTHERS,) * skipped
    try:
        return [_entity(text, *row) for row in wanted], repairs
    except Bad as bad:
        raw = text.replace("\n", "\r\n")
        try:
            found = [_entity(raw, *row) for row in wanted]
        except Bad:
            raise bad from None
    entities = []
    for mention in found:
        start, surface = mention.start - raw.count("\r", 0, mention.start), mention.text.replace("\r", "")
        entities.append(Entity(start, start + len(surface), mention.label, surface))
    return entities, (*repairs, CRLF)


def _entity(text: str, number: int, row: str) -> Entity:
    """The mention of a line of an ``.ann``."""
    where = f"line {number} of the .ann"
    columns = row.split("\t", 2)
    spans = _SPANS.fullmatch(columns[1]) if len(columns) == 3 and re.fullmatch(r"T\S+", columns[0]) else None
    if not spans:
        message = f"{where} is not `T1 TAB label start end TAB text`, nor another annotation of brat: {one_line(row)}"
        raise Bad("malformed annotation", message)
    label, surface = spans[1], columns[2]
    fragments = [(int(start), int(end)) for start, end in (span.split() for span in spans[2].split(";"))]
    try:
        parts = [entity(text, start, end, label).text for start, end in fragments]
        for (_, end), (start, _) in pairwise(fragments):
            if end > start:
                raise Bad("malformed annotation", f"{label} {one_line(surface)}: its fragments are not in order")
            between = text[end:start]
            if between and not (between.isspace() and _is_break(between)):
                message = f"{label} {one_line(surface)} leaves out {one_line(between)}: gold has no such mentions"
                raise Bad("discontinuous mention", message)
        if _flat(" ".join(parts)) == _flat(surface):
            return entity(text, fragments[0][0], fragments[-1][1], label)
        return entity(text, fragments[0][0], fragments[-1][1], label, surface)
    except Bad as bad:
        reason, message = bad.problem
        raise Bad(reason, f"{where}: {message}") from None


def _flat(text: str) -> str:
    """A text as it is on one line of an ``.ann``."""
    return re.sub("\r?\n|\t", " ", text)


def _is_break(space: str) -> bool:
    return "\n" in space or "\t" in space


def _fragments(text: str) -> Iterator[tuple[int, int]]:
    """The start and end of each part of a text between line breaks or tabs, with white space around them."""
    start = 0
    for found in _SPACE.finditer(text):
        if _is_break(found[0]):
            yield start, found.start()
            start = found.end()
    yield start, len(text)


def _spans(mention: Entity) -> str:
    """The label, offsets and text of a mention: a fragment for each line that it is on."""
    parts = list(_fragments(mention.text))
    spans = ";".join(f"{mention.start + start} {mention.start + end}" for start, end in parts)
    return f"{mention.label} {spans}\t{' '.join(mention.text[start:end] for start, end in parts)}"
