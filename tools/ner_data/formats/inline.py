"""Marks inside the sentence, as in BosonNLP's corpus: ``{{type:text}}``, a sentence per line.

A sample line::

    {{person_name:林晓}}在{{company_name:云帆科技}}任{{position:{{level:高级}}经理}}

The type is what precedes the first colon; it has no braces, and no white space around it. White space at the edge of a
mention (``{{person_name: 林晓}}``, as BosonNLP's file has it) stays in the text, but outside of the mention, and is
counted. A mention inside a mention is kept, up to 20 levels.

A single brace is text, two are a mark; there is no way to write two as text. Three in a row could be read in two ways
and are refused, as are marks without a type or a text, and those that nothing closes or opens.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from ner_common.errors import one_line
from ner_common.files import Opener
from ner_data.described import Corpus
from ner_data.formats import ONCE, Format, Piece, Sample
from ner_data.gold import Entity, Record
from ner_data.source import Source

SPACE = "white space at the edge of a mention (stays text, outside of it)"
DEEPEST = 20  # mentions around each other
_BRACES = re.compile(r"\{\{+|\}\}+")
_TYPE = re.compile(r"([^\s{}:](?:[^{}:]*[^\s{}:])?):")


@dataclass(frozen=True)
class Reader(Format):
    """See the module."""

    title = "`{{type:text}}` inside the sentence (BosonNLP)"
    files = ".txt"
    nested = True
    unlabelled = False
    policies = (
        "Mentions that touch or are nested are kept; crossing ones, and those with gaps, cannot be written.",
        "Two braces in the text, or one next to a mark, cannot be written; nor can a line break.",
        ONCE,
    )

    def pieces(self, source: Source) -> Iterator[Piece]:
        return (Piece(number, line) for number, line in source.written())

    def parse(self, piece: Piece, gold: bool) -> Sample:
        line = piece.content
        if "\ufeff" in line:
            message = f"has a byte-order mark inside the file: {one_line(line)}; remove it"
            return Sample(piece.line, "", None, ("byte-order mark", message), labels=_labels(line))
        try:
            text, entities, spaces = _read(line)
        except ValueError as error:
            reason, message = error.args
            return Sample(piece.line, "", None, (reason, message), labels=_labels(line))
        return Sample(piece.line, text, entities if gold else None, repairs=(SPACE,) * spaces)

    def refusal(self, record: Record) -> tuple[str, str] | None:
        if not record.text.strip():
            return "no text", "has no text"
        if found := re.search("[\n\r\0\ufeff]", record.text):
            return (
                "control character",
                f"has {one_line(found[0])} at character {found.start()}, which a line cannot hold",
            )
        for entity in record.entities or ():
            if not _TYPE.fullmatch(f"{entity.label}:") or re.search("[\n\r\0\ufeff]", entity.label):
                return "label with a mark", f"has the label {one_line(entity.label)}, which `{{{{type:` cannot hold"
            if entity.text != entity.text.strip():
                return "space in a mention", f"{one_line(entity.text)} has white space at its edge"
        try:
            line = _write(record)
            same = not re.search("[{}]", record.text) or _read(line) == (record.text, record.entities or (), 0)
        except ValueError as error:
            reason, message = error.args
            return reason, message
        return None if same else ("braces", "has braces that could be read as marks")

    def write(self, records: Iterable[Record], target: Path, corpus: Corpus, write: Opener) -> None:
        with write(target.with_name(f"{target.name}.txt")) as file:
            file.writelines(_write(record) + "\n" for record in records)


def _read(line: str) -> tuple[str, tuple[Entity, ...], int]:
    """The text of a line, its mentions, and how many of them had white space at an edge.

    Raises:
        ValueError: (reason, message) of what is wrong with its marks.
    """
    parts: list[str] = []
    opened: list[tuple[int, str]] = []
    spans: list[tuple[int, str, int]] = []
    length = at = 0
    for braces in _BRACES.finditer(line):
        parts.append(line[at : braces.start()])
        length += braces.start() - at
        at = braces.end()
        here = one_line(line[max(0, braces.start() - 10) : at + 20])
        if braces[0] == "{{":
            if not (kind := _TYPE.match(line, at)):
                raise ValueError("no type", f"has {{{{ without `type:` behind it: {here}; two braces cannot be text")
            if len(opened) == DEEPEST:
                raise ValueError("too many levels", f"has more than {DEEPEST} mentions around each other: {here}")
            opened.append((length, kind[1]))
            at = kind.end()
        elif braces[0][0] == "{" or len(braces[0]) % 2:
            raise ValueError("braces", f"has {len(braces[0])} braces in a row, of which one may be text: {here}")
        elif len(opened) < len(braces[0]) // 2:
            raise ValueError("braces", f"has }}}} that closes no mention: {here}; two braces cannot be text")
        else:
            for _ in range(len(braces[0]) // 2):
                spans.append((*opened.pop(), length))
    if opened:
        label = one_line(opened[-1][1])
        raise ValueError("unclosed mention", f"has a mention of {label} that nothing closes: {one_line(line)}")
    text = "".join([*parts, line[at:]])
    if not text.strip():
        raise ValueError("no text", f"has no text: {one_line(line)}")
    entities, spaces = [], 0
    for start, label, end in spans:
        written = text[start:end]
        if not (surface := written.strip()):
            raise ValueError("no text", f"has a mention of {one_line(label)} without text: {one_line(line)}")
        start += len(written) - len(written.lstrip())
        spaces += surface != written
        entities.append(Entity(start, start + len(surface), label, surface))
    return text, tuple(sorted(entities)), spaces


def _labels(line: str) -> frozenset[str]:
    return frozenset(re.findall(r"\{\{" + _TYPE.pattern, line))


def _write(record: Record) -> str:
    """The line of a record.

    Raises:
        ValueError: (reason, message), because its mentions cross or are too deep.
    """
    parts: list[str] = []
    ends: list[int] = []
    at = 0

    def close(until: int) -> None:
        nonlocal at
        while ends and ends[-1] <= until:
            end = ends.pop()
            parts.extend((record.text[at:end], "}}"))
            at = end

    for entity in sorted(record.entities or (), key=lambda entity: (entity.start, -entity.end)):
        close(entity.start)
        if ends and ends[-1] < entity.end:
            raise ValueError("crossing mentions", f"has mentions that cross at {one_line(entity.text)}")
        if len(ends) == DEEPEST:
            raise ValueError("too many levels", f"has more than {DEEPEST} mentions around each other")
        parts.extend((record.text[at : entity.start], f"{{{{{entity.label}:"))
        at = entity.start
        ends.append(entity.end)
    close(len(record.text))
    return "".join([*parts, record.text[at:]])
