"""Character-per-line BIO, as in the TCM corpus: ``char SPACE tag``, a blank line between sentences.

A sample sentence::

    头 O
    晕 B-临床表现
    目 B-临床表现
    眩 I-临床表现

Lines end in LF or CRLF. The separator is the last ASCII space or tab of a line, so the character can be U+3000
(ideographic space) or even a plain space. Policy for an ``I-`` that does not continue a ``B-`` or ``I-`` of its label:
it starts a mention (as conlleval reads it); every such tag is counted. A token of several characters (``CT``) is text
too, and counted.

Everything else in the first column is refused, because it would become text: more columns, a byte-order mark, and the
positions in words of Weibo NER (``科0``, ``技1``).
"""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from ner_common.errors import UserError, one_line, rooted
from ner_common.files import read_text
from ner_data.formats import Sample
from ner_data.gold import Entity

ORPHAN = "I- without B- (starts a mention)"
LONG = "tokens of several characters (joined without spaces)"
LAYOUT = "write `char SPACE tag`"
_TAG = re.compile(r"O|[A-Z]-\S+")
_ROW = list[tuple[int, str]]


def read(path: Path, gold: bool) -> Iterator[Sample]:
    """Yield the sentences of a file; with ``gold`` false the tags are not interpreted.

    Raises:
        UserError: the file is missing, empty or not UTF-8, its lines end in CR, or its tokens carry positions.
    """
    sentences = list(_sentences(path))
    tokens = [[row[: _cut(row)] for _, row in rows] for rows in sentences]
    if 2 * sum(map(_with_position, tokens)) > sum(map(len, tokens)):
        number, row = sentences[0][0]
        problem = f"the tokens carry their positions in words, as in Weibo NER: {one_line(row)}"
        raise UserError(f"{rooted(path)}:{number}: {problem}; remove these digits, or they become text")
    for rows in sentences:
        yield _sentence(rows, gold)


def _sentences(path: Path) -> Iterator[_ROW]:
    """The (line number, line) rows of each sentence."""
    rows: _ROW = []
    lines = read_text(path, "name the folder that has it with --raw DIR").split("\n")
    for number, line in enumerate([*lines, ""], start=1):
        row = line.removesuffix("\r")
        if "\r" in row:
            problem = "a carriage return inside the line; convert the file's line ends to LF"
            raise UserError(f"{rooted(path)}:{number}: {problem}")
        if row.strip(" \t"):
            rows.append((number, row))
        elif rows:
            yield rows
            rows = []


def _cut(row: str) -> int:
    """Where the separator of a line is, -1 if it has none."""
    return max(row.rfind(" "), row.rfind("\t"))


def _with_position(tokens: Sequence[str]) -> int:
    """How many tokens of a sentence end in their position in a word: 0, or one more than the token before."""
    if len(max(tokens, key=len)) == 1:
        return 0
    count, position = 0, -1
    for token in tokens:
        following = str(position + 1)
        if len(token) > len(following) and token.endswith(following):
            position += 1
        else:
            position = 0 if len(token) > 1 and token.endswith("0") else -1
        count += position >= 0
    return count


def _sentence(rows: _ROW, gold: bool) -> Sample:
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
    if 2 * _with_position([token for token, _ in tokens]) > len(tokens):
        message = f"the tokens from line {first} carry their positions in words: {one_line(rows[0][1])}"
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
    if "\0" in row:
        return "wrong encoding", f"has a NUL, as UTF-16 has: {one_line(row)}; convert the file to UTF-8"
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


def _labels(rows: _ROW) -> frozenset[str]:
    """The labels in the tags of a sentence that cannot be read."""
    tags = (row[_cut(row) + 1 :] for _, row in rows)
    return frozenset(tag[2:] for tag in tags if len(tag) > 2 and _TAG.fullmatch(tag))


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
