"""What formats with tagged tokens share: rows and sentences, what cannot be text, and a token and its tag per line."""

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate, islice
from operator import and_
from pathlib import Path
from typing import ClassVar

import msgspec

from ner_common.errors import one_line
from ner_common.files import Opener
from ner_data.described import Corpus
from ner_data.formats import Format, Piece, Sample
from ner_data.formats._marks import (
    MARK_AFTER,
    NO_MARKS,
    bad_mark,
    has_marks_behind,
    marked,
    marks_problem,
    without_mark,
)
from ner_data.formats._schemes import LETTERS, Scheme, Tag, Unclear, spans, split_tag, tags_of, wrong_tag
from ner_data.gold import Entity, Record
from ner_data.source import Source

LONG = "tokens of several characters (joined without spaces)"
MARKER = "document markers (skipped)"
LAYOUT = "write `char SPACE tag`"
POLICIES = (
    "Tags may be written B-PER, B_PER, b-per, PER-B or PER_B.",
    "Mentions that touch stay apart; those that share characters, or have gaps, cannot be tagged.",
    "A mention without the tag of its start or end is read as far as it is tagged, and counted.",
    "Tags that contradict each other (ends without a start inside a label, labels that change) are refused.",
    "A character is a code point, so combining characters have tags of their own; a line break cannot be written.",
)
SURVEYED = 100_000  # lines that tell what kind of file it is
_LONGEST = 200  # characters of each that tell it
_TAG = re.compile(rf"O|[{LETTERS}]-\S+")
_DOCUMENT = re.compile(r"-DOCSTART-(?:[ \t]+(?:O|[-_]\S*|\(\d+\)))*[ \t]*")
Rows = list[tuple[int, str]]
Problem = tuple[str, str]


def sentences(source: Source) -> Iterator[Piece]:
    """The (line number, line) rows of each sentence, and how many document markers precede it.

    Raises:
        UserError: see `Source.lines`.
    """
    rows: Rows = []
    markers = 0
    for number, row in source.lines():
        marker = _is_marker(row)
        if not marker and row.strip(" \t"):
            rows.append((number, row))
        elif rows:
            yield Piece(rows[0][0], (rows, markers))
            rows, markers = [], 0
        markers += marker
    if rows:
        yield Piece(rows[0][0], (rows, markers))


def survey(source: Source) -> Counter[str]:
    """The first `SURVEYED` rows of a file, long ones cut, and how often each is there; not blank ones and markers."""
    lines = islice(replace(source, tick=lambda _: None).lines(), SURVEYED)
    rows = Counter(row[:_LONGEST] for _, row in lines)
    return Counter({row: count for row, count in rows.items() if row.strip(" \t") and not _is_marker(row)})


def check_ends(source: Source, tags: Counter[str], scheme: Scheme) -> None:
    """Refuse a file of BIO tags where ends are marked: most of its mentions would be repaired.

    Raises:
        UserError: it is one.
    """
    starts, ends = (
        sum(count for tag, count in tags.items() if split_tag(tag)[0] in letters)
        for letters in (("B", scheme.single), (scheme.end, scheme.single))
    )
    if scheme.end and 2 * ends < starts:
        marks = f"{scheme.end}- or {scheme.single}-"
        problem = f"{starts} mentions start, but only {ends} end with {marks}; is this BIO instead of {scheme.name}?"
        raise source.wrong(1, problem)


def check_marks(source: Source, tokens: Counter[str], cut: Callable[[str], Iterable[str]]) -> None:
    """Refuse a file whose tokens carry marks of a word segmentation.

    Args:
        source: the file.
        tokens: its tokens, and how often it has each.
        cut: gives the tokens of a line.

    Raises:
        UserError: they carry some.
    """
    if found := marked(tokens):
        rows = ((number, row) for number, row in source.lines() if not found.isdisjoint(cut(row)))
        line, row = next(rows, (1, next(iter(found))))
        drop = "`format: bio` (bioes, bmes) with `options: {segmentation: true}`"
        raise source.wrong(line, marks_problem(one_line(row), drop))


def mentions(
    text: str, starts: Sequence[int], ends: Sequence[int], tags: Sequence[Tag], scheme: Scheme
) -> tuple[tuple[Entity, ...], tuple[str, ...]]:
    """The entities of a sentence, given where its tokens start and end, and the repairs.

    Raises:
        Unclear: see `spans`.
    """
    found, repairs = spans(tags, scheme)
    places = [(starts[first], ends[after - 1], label) for first, after, label in found]
    return tuple(Entity(start, end, label, text[start:end]) for start, end, label in places), tuple(repairs)


def labels_of(tags: Iterable[str]) -> frozenset[str]:
    """The labels in some tags; the whole tag where it is none."""
    found = set()
    for tag in set(tags) - {""}:
        letter, label = split_tag(tag)
        found.add(label if letter else tag)
    return frozenset(found - {""})


def joined(before: str, token: str) -> Problem | None:
    """Why a token cannot follow another one: Latin words, which would become text without the space between them."""
    if len(before) == len(token) == 1:
        return None
    ends = before[-1:] + token[:1]
    if len(ends) < 2 or not ends.isascii() or not ends.isalnum():
        return None
    message = f"has {one_line(token)} after {one_line(before)}: with a space between them, or without?"
    return "words", f"{message} write each character by itself, a space too"


def refusal(record: Record) -> Problem | None:
    """Why lines of tokens and tags cannot hold a record."""
    if not record.text:
        return "no text", "has no text"
    if found := re.search(r"[\n\r]", record.text):
        return "line break", f"has a line break at character {found.start()}, which a character per line cannot hold"
    if found := re.search("[\0\ufeff]", record.text):
        what = one_line(found[0])
        return "control character", f"has {what} at character {found.start()}, which readers refuse or drop"
    for entity in record.entities or ():
        if re.search(r"[\s\0]", entity.label):
            return "label with a space", f"has the label {one_line(entity.label)}, but a tag cannot have white space"
    return None


@dataclass(frozen=True)
class Tagged(Format):
    """A character and its tag per line, blank lines between sentences; subclasses name the scheme.

    The separator is the last ASCII space or tab of a line, so the character can be U+3000 (ideographic space) or even
    a plain space. A token of several characters (``CT``) is text too, and counted. A ``-DOCSTART-`` line, the start of
    a document in CoNLL's files, is skipped and counted.

    Everything else in the first column is refused, because it would become text: more columns, a byte-order mark, and
    the marks of a word segmentation, unless ``segmentation`` is true: see `_marks`. The option is for reading only.
    """

    segmentation: bool = False

    files = ".txt"
    nested = False
    unlabelled = False
    variants = ({}, {"segmentation": True})
    policies = (
        *POLICIES,
        "A token of several characters (CT) is text too, and counted; Latin words one after the other are refused.",
        "Marks of a word segmentation (科0 技1, 科B 技E) are refused; `segmentation: true` drops them on reading.",
    )
    scheme: ClassVar[Scheme]

    def pieces(self, source: Source) -> Iterator[Piece]:
        """See `sentences`.

        Raises:
            UserError: see `Source.lines`; or the tokens carry the marks of a word segmentation, or none although they
                should; or the tags are BIO, but should not be.
        """
        self._check(source)
        yield from sentences(source)

    def _check(self, source: Source) -> None:
        rows = survey(source)
        tokens: Counter[str] = Counter()
        tags: Counter[str] = Counter()
        for row, count in rows.items():
            token, tag = _cut(row)
            tokens[token] += count
            tags[tag] += count
        if self.segmentation:
            if not has_marks_behind(tokens):
                raise source.wrong(1, NO_MARKS)
        else:
            check_marks(source, tokens, lambda row: [_cut(row)[0]])
        check_ends(source, tags, self.scheme)

    def parse(self, piece: Piece, gold: bool) -> Sample:
        rows, markers = piece.content
        sample = self._sentence(rows, gold)
        return msgspec.structs.replace(sample, repairs=sample.repairs + (MARKER,) * markers) if markers else sample

    def refusal(self, record: Record) -> tuple[str, str] | None:
        return refusal(record)

    def write(self, records: Iterable[Record], target: Path, corpus: Corpus, write: Opener) -> None:
        with write(target.with_name(f"{target.name}.txt")) as file:
            for record in records:
                entities = ((entity.start, entity.end, entity.label) for entity in record.entities or ())
                tags = tags_of(len(record.text), entities, self.scheme)
                file.writelines(f"{character} {tag}\n" for character, tag in zip(record.text, tags, strict=True))
                file.write("\n")

    def _sentence(self, rows: Rows, gold: bool) -> Sample:
        first = rows[0][0]
        tokens: list[str] = []
        tags: list[Tag] = []
        known = self.scheme.tags
        char = mark = ""
        for number, row in rows:
            before = char
            char, tag = _cut(row)
            if self.segmentation and char:
                if not (parts := without_mark(char, mark)):
                    return _bad(rows, number, bad_mark(one_line(mark), one_line(row)))
                char, mark = parts
            parsed = split_tag(tag)
            plain = len(char) == 1 and char not in "O\ufeff" and len(before) < 2 and parsed[0] in known
            if not plain and (problem := self._problem(row, char, tag, before, gold)):
                return _bad(rows, number, problem)
            tokens.append(char)
            tags.append(parsed)
        text = "".join(tokens)
        several = [token for token in tokens if len(token) > 1] if len(text) > len(tokens) else []
        if several:
            marks = [len(token) > 1 and bool(MARK_AFTER.fullmatch(token)) for token in tokens]
            if True in map(and_, marks, marks[1:]):
                row = rows[marks.index(True)][1]
                what = "two tokens from line"
                message = f"{what} {first} on carry their positions in words, or other marks: {one_line(row)}"
                return Sample(first, "", None, ("positions in words", message), labels=_labels(rows))
        long = (LONG,) * len(several)
        if not gold:
            return Sample(first, text, None, repairs=long)
        edges = [0, *accumulate(map(len, tokens))]
        try:
            entities, repairs = mentions(text, edges, edges[1:], tags, self.scheme)
        except Unclear as error:
            at, reason, message = error.args
            return _bad(rows, rows[at][0], (reason, message))
        return Sample(first, text, entities, repairs=repairs + long)

    def _problem(self, row: str, char: str, tag: str, before: str, gold: bool) -> Problem | None:
        """Why a line cannot be read (reason, message), given the first column of this line and of the one before."""
        if not char and row[:1] in (" ", "\t"):
            return "no character", f"has no character before its tag: {one_line(row)}; {LAYOUT}"
        if not char or not tag:
            return "no tag", f"has no tag: {one_line(row)}; {LAYOUT}"
        if gold and split_tag(tag)[0] not in self.scheme.tags:
            return "unknown tag scheme", wrong_tag(tag, self.scheme)
        if "\ufeff" in char:
            return "byte-order mark", f"has a byte-order mark inside the file: {one_line(row)}; remove it"
        if len(char) == 1 and (char != "O" or tag.isascii() or _TAG.fullmatch(tag)):
            return joined(before, char)
        if _TAG.fullmatch(char):
            return "tag in the first column", f"has a tag before the last column: {one_line(row)}; {LAYOUT}"
        if re.search(r"\s", char):
            return "too many columns", f"has more than a character and a tag: {one_line(row)}; {LAYOUT}"
        return joined(before, char)


def _is_marker(row: str) -> bool:
    return row.startswith("-DOCSTART-") and bool(_DOCUMENT.fullmatch(row))


def _cut(row: str) -> tuple[str, str]:
    """The token and the tag of a line; no token if it has no separator."""
    cut = max(row.rfind(" "), row.rfind("\t"))
    return row[: max(cut, 0)], row[cut + 1 :]


def _bad(rows: Rows, number: int, problem: Problem) -> Sample:
    reason, message = problem
    return Sample(rows[0][0], "", None, (reason, f"line {number} {message}"), labels=_labels(rows))


def _labels(rows: Rows) -> frozenset[str]:
    return labels_of(tag for token, tag in (_cut(row) for _, row in rows) if token)
