"""Character-per-line BIO, as in the TCM corpus: ``char SPACE tag``, a blank line between sentences.

A sample sentence::

    头 O
    晕 B-临床表现
    目 B-临床表现
    眩 I-临床表现

Lines end in LF or CRLF. The separator is the last ASCII space or tab of a line, so the character can be U+3000
(ideographic space) or even a plain space. Policy for an ``I-`` that does not continue a ``B-`` or ``I-`` of its label:
it starts a mention (as conlleval reads it); every such tag is counted. A token of several characters (``CT``) is text
too, and counted. A ``-DOCSTART-`` line, the start of a document in CoNLL's files, is skipped and counted.

Everything else in the first column is refused, because it would become text: more columns, a byte-order mark, and the
marks of a word segmentation: the positions in words of Weibo NER (``科0``, ``技1``), or BMES (``科B``, ``技E``).
"""

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from operator import and_
from pathlib import Path

from ner_common.errors import one_line
from ner_common.files import Opener
from ner_data.described import Corpus
from ner_data.formats import Format, Piece, Sample
from ner_data.gold import Entity, Record
from ner_data.source import Source

ORPHAN = "I- without B- (starts a mention)"
LONG = "tokens of several characters (joined without spaces)"
MARKER = "document markers (skipped)"
LAYOUT = "write `char SPACE tag`"
_TAG = re.compile(r"O|[A-Z]-\S+")
_ROWS = list[tuple[int, str]]
_DOCUMENT = re.compile(r"-DOCSTART-(?:[ \t]+(?:O|[-_]\S*|\(\d+\)))*[ \t]*")
# Written next to a character: printable ASCII, full-width letters and digits, raised, lowered and circled digits.
_MARK = r"[!-~０-９Ａ-Ｚａ-ｚ⁰¹²³⁴-⁹₀-₉①-⑳]+"
_HAN = r"[\u2e80-\u2fdf\u3005-\u3007\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]"
_ONLY_MARK = re.compile(_MARK)
_MARK_AFTER = re.compile(rf"({_HAN}|[\u3000\ufe0f\U0001f000-\U0001faff]{{1,2}}){_MARK}")  # a character, space or emoji
_MARK_BEFORE = re.compile(rf"{_MARK}({_HAN})")
FEW = 1 / 50  # of a file's tokens: fewer that look marked (``维C``) are text
CHARACTERS = 5  # so many different ones are not marked by chance


@dataclass(frozen=True)
class Reader(Format):
    """See the module."""

    title = "a character and its BIO tag per line"
    files = ".txt"
    nested = False
    unlabelled = False

    def pieces(self, source: Source) -> Iterator[Piece]:
        """The (line number, line) rows of each sentence, and how many document markers precede it.

        Raises:
            UserError: see `Source.lines`; or the tokens carry the marks of a word segmentation.
        """
        _refuse_marks(source)
        rows: _ROWS = []
        markers = 0
        for number, row in source.lines():
            marker = _DOCUMENT.fullmatch(row)
            if row.strip(" \t") and not marker:
                rows.append((number, row))
            elif rows:
                yield Piece(rows[0][0], (rows, markers))
                rows, markers = [], 0
            markers += bool(marker)
        if rows:
            yield Piece(rows[0][0], (rows, markers))

    def parse(self, piece: Piece, gold: bool) -> Sample:
        rows, markers = piece.content
        sample = _sentence(rows, gold)
        return replace(sample, repairs=sample.repairs + (MARKER,) * markers)

    def refusal(self, record: Record) -> tuple[str, str] | None:
        if found := re.search(r"[\n\r]", record.text):
            return (
                "line break",
                f"has a line break at character {found.start()}, which a character per line cannot hold",
            )
        return None

    def write(self, records: Iterable[Record], target: Path, corpus: Corpus, write: Opener) -> None:
        with write(target.with_name(f"{target.name}.txt")) as file:
            for record in records:
                tags = ["O"] * len(record.text)
                for entity in record.entities or ():
                    tags[entity.start : entity.end] = [
                        f"B-{entity.label}", *[f"I-{entity.label}"] * (entity.end - entity.start - 1)
                    ]  # fmt: skip
                file.writelines(f"{character} {tag}\n" for character, tag in zip(record.text, tags, strict=True))
                file.write("\n")


def _cut(row: str) -> int:
    """Where the separator of a line is, -1 if it has none."""
    return max(row.rfind(" "), row.rfind("\t"))


def _refuse_marks(source: Source) -> None:
    """Refuse a file whose tokens carry marks of a word segmentation.

    They do if tokens of one Han character and a mark are most of all tokens; or, with the mark behind the character,
    not few, of different characters, and most of the tokens of several characters: then words of one character have no
    mark. ``CT`` and ``10`` decide nothing: they may be text, or a character with its mark.
    """
    counts: Counter[str] = Counter()
    first: dict[str, tuple[int, str]] = {}
    for number, row in source.lines():
        if row.strip(" \t") and not _DOCUMENT.fullmatch(row):
            token = row[: max(_cut(row), 0)]
            if len(token) < 2 or not _ONLY_MARK.fullmatch(token):
                counts[token] += 1
                first.setdefault(token, (number, row))
    total = counts.total()
    several = sum(count for token, count in counts.items() if len(token) > 1)
    for pattern in (_MARK_AFTER, _MARK_BEFORE):
        found = {token: match[1] for token in counts if (match := pattern.fullmatch(token))}
        number = sum(counts[token] for token in found)
        varied = len(set(found.values())) >= CHARACTERS
        if pattern is _MARK_AFTER:
            most = 2 * number > total and len(found) > 1
            many = varied and 2 * number > several and number > FEW * total
        else:  # B超, 5年: text, as long as there are not only such tokens
            most, many = varied and 2 * number > total, False
        if most or many:
            line, row = min(first[token] for token in found)
            problem = "the tokens carry their positions in words, or other marks of a word segmentation"
            raise source.wrong(
                line, f"{problem}: {one_line(row)}; remove these digits or letters, or they become text"
            )


def _sentence(rows: _ROWS, gold: bool) -> Sample:
    """Read one sentence from its rows."""
    first = rows[0][0]
    tokens: list[tuple[str, str]] = []
    for number, row in rows:
        cut = _cut(row)
        token, tag = row[: max(cut, 0)], row[cut + 1 :]
        before = tokens[-1][0] if tokens else ""
        if problem := _problem(row, token, tag, before, gold):
            reason, message = problem
            return Sample(first, "", None, (reason, f"line {number} {message}"), labels=_labels(rows))
        tokens.append((token, tag))
    text = "".join(token for token, _ in tokens)
    marked = [bool(_MARK_AFTER.fullmatch(token)) for token, _ in tokens]
    if True in map(and_, marked, marked[1:]):
        row = rows[marked.index(True)][1]
        message = f"two tokens from line {first} on carry their positions in words, or other marks: {one_line(row)}"
        return Sample(first, "", None, ("positions in words", message), labels=_labels(rows))
    long = (LONG,) * sum(len(token) > 1 for token, _ in tokens)
    if not gold:
        return Sample(first, text, None, repairs=long)
    entities, orphans = _entities(text, tokens)
    return Sample(first, text, tuple(entities), repairs=(ORPHAN,) * orphans + long)


def _problem(row: str, char: str, tag: str, before: str, gold: bool) -> tuple[str, str] | None:
    """Why a line cannot be read (reason, message), given the first column of this line and of the one before."""
    if not char or not tag:
        return "no tag", f"has no tag: {one_line(row)}; {LAYOUT}"
    if gold and not (tag == "O" or (tag[:2] in ("B-", "I-") and len(tag) > 2)):
        return "unknown tag scheme", f"has the tag {one_line(tag)}; this format has only B-label, I-label and O"
    if "\ufeff" in char:
        return "byte-order mark", f"has a byte-order mark inside the file: {one_line(row)}; remove it"
    if len(char) == 1 and (char != "O" or tag.isascii() or _TAG.fullmatch(tag)):
        return _joined(before, char)
    if _TAG.fullmatch(char):
        return "tag in the first column", f"has a tag before the last column: {one_line(row)}; {LAYOUT}"
    if re.search(r"\s", char):
        return "too many columns", f"has more than a character and a tag: {one_line(row)}; {LAYOUT}"
    return _joined(before, char)


def _joined(before: str, token: str) -> tuple[str, str] | None:
    """Latin words, which would become text without the space that was between them."""
    if len(before) == len(token) == 1:
        return None
    ends = before[-1:] + token[0]
    if len(ends) < 2 or not ends.isascii() or not ends.isalnum():
        return None
    message = f"has {one_line(token)} after {one_line(before)}: with a space between them, or without?"
    return "words", f"{message} write one character per line, a space too"


def _labels(rows: _ROWS) -> frozenset[str]:
    """The labels in the tags of a sentence that cannot be read; the whole tag where it is of another scheme."""
    tags = {row[cut + 1 :] for _, row in rows if (cut := _cut(row)) > 0} - {"", "O"}
    return frozenset(tag[2:] if _TAG.fullmatch(tag) else tag for tag in tags)


def _entities(text: str, tokens: list[tuple[str, str]]) -> tuple[list[Entity], int]:
    """Turn tagged tokens into entities: (entities, number of I- tags that started one)."""
    spans: list[tuple[int, int, str]] = []
    open_label, orphans, position = "", 0, 0
    for token, tag in tokens:
        end = position + len(token)
        label = tag[2:]
        if tag.startswith("I-") and label == open_label:
            spans[-1] = (spans[-1][0], end, label)
        elif tag != "O":
            orphans += tag.startswith("I-")
            spans.append((position, end, label))
        open_label, position = label, end
    return [Entity(start, end, label, text[start:end]) for start, end, label in spans], orphans
