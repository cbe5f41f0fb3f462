"""Character-per-line BIO, as in the TCM corpus: ``char SPACE tag``, a blank line between sentences.

A sample sentence::

    头 O
    晕 B-临床表现
    目 B-临床表现
    眩 I-临床表现

Lines end in LF or CRLF. The separator is the last ASCII space or tab of a line, so the character can be U+3000
(ideographic space) or even a plain space. Policy for an ``I-`` that does not continue a ``B-`` or ``I-`` of its label:
it starts a mention (as conlleval reads it); every such tag is counted.
"""

from collections.abc import Iterator
from pathlib import Path

from ner_common.errors import one_line
from ner_common.files import read_text
from ner_data.formats import Sample
from ner_data.gold import Entity

ORPHAN = "I- without B- (starts a mention)"


def read(path: Path, gold: bool) -> Iterator[Sample]:
    """Yield the sentences of a file; with ``gold`` false the tags are not interpreted.

    Raises:
        UserError: the file is missing, empty or not UTF-8.
    """
    rows: list[tuple[int, str]] = []
    lines = read_text(path, "name the folder that has it with --raw DIR").split("\n")
    for number, line in enumerate([*lines, ""], start=1):
        row = line.removesuffix("\r")
        if row.strip(" \t"):
            rows.append((number, row))
        elif rows:
            yield _sentence(rows, gold)
            rows = []


def _sentence(rows: list[tuple[int, str]], gold: bool) -> Sample:
    """Read one sentence from its (line number, line) rows."""
    first = rows[0][0]
    tokens: list[tuple[str, str]] = []
    for number, row in rows:
        cut = max(row.rfind(" "), row.rfind("\t"))
        token, tag = row[:cut], row[cut + 1 :]
        if cut < 1 or not tag:
            message = f"line {number} has no tag: {one_line(row)}; write `char SPACE tag`"
            return Sample(first, "", None, ("no tag", message))
        if gold and not (tag == "O" or (tag[:2] in ("B-", "I-") and len(tag) > 2)):
            message = f"line {number} has the tag {one_line(tag)}; this format has only B-label, I-label and O"
            return Sample(first, "", None, ("unknown tag scheme", message))
        tokens.append((token, tag))
    text = "".join(token for token, _ in tokens)
    if not gold:
        return Sample(first, text, None)
    entities, orphans = _entities(text, tokens)
    return Sample(first, text, tuple(entities), repairs=(ORPHAN,) * orphans)


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
