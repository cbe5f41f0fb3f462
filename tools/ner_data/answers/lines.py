"""One mention per line, in order of position: surface, tab, label.

For the text 林晓在云帆科技任经理::

    林晓	name
    云帆科技	company
    经理	position

The surface comes first, as in `json_list`. Labels hold no tab and texts hardly any, and a tab with the label after it
is often one token: 11.2 tokens for a CLUENER answer, against 12.4 with the label first and 25.4 in `json_list`.
Backslashes, tabs and line breaks are written as ``\\\\``, ``\\t``, ``\\n`` and ``\\r``.
"""

import re
from collections.abc import Sequence
from typing import Any

from ner_data.answers import forced_by
from ner_data.answers.json_list import literal, storable, stretches
from ner_data.gold import Entity, Mention, Parsed

NAME = "lines"
DIRECTIVE = "每行写一个实体及其类别，中间用制表符隔开"
FORMAT = "实体\t类别"
EMPTY = "无"

_ESCAPES = {"\\": "\\\\", "\t": "\\t", "\n": "\\n", "\r": "\\r"}
_CHARS = {written: char for char, written in _ESCAPES.items()}
_SPECIAL = re.compile(r"[\\\t\n\r]")
_ESCAPE = re.compile(r"\\.?")


def render(text: str, entities: Sequence[Entity]) -> str:
    """Write the entities of a text (sorted by position) as the answer that a model should give."""
    return "\n".join(f"{_written(entity.text)}\t{_written(entity.label)}" for entity in entities) or EMPTY


def _written(text: str) -> str:
    return _SPECIAL.sub(lambda found: _ESCAPES[found[0]], text)


def parse(answer: str, text: str) -> Parsed:
    """Read an answer back; never raises, whatever the model wrote, and takes linear time.

    Problems:

    - ``inexact``: there are other lines (words, a code fence) or escapes that are none; the mentions are returned.
    - ``bad_item``: a line has an empty surface or label, or more than these; it is returned with what it has.
    - ``unparsable``: no line is a mention.
    """
    rows = answer.strip("\r\n").split("\n")
    at = len(answer) - len(answer.lstrip("\r\n"))  # where a row starts
    if rows == [EMPTY]:
        return Parsed(())
    mentions, problems = [], set()
    for row in rows:
        start, at = at, at + len(row) + 1
        surface, *rest = row.removesuffix("\r").split("\t")
        if not rest:
            problems.add("inexact")
            continue
        written = ((start, start + len(surface) + 1 + len(rest[0])),)
        mention = Mention(storable(_read(rest[0])), storable(_read(surface)), None, written)
        mentions.append(mention)
        if len(rest) > 1 or not (mention.text and mention.label):
            problems.add("bad_item")
        elif "\\" in row and not all(escape in _CHARS for escape in _ESCAPE.findall(row)):
            problems.add("inexact")
    if not mentions and EMPTY not in rows:
        return Parsed((), ("unparsable",))
    return Parsed(tuple(mentions), tuple(sorted(problems)))


def _read(written: str) -> str:
    return _ESCAPE.sub(lambda found: _CHARS.get(found[0], found[0]), written)


def structured(mode: str, labels: Sequence[str], text: str) -> dict[str, Any] | None:
    """The request fields that force this form: a grammar of one text. No JSON schema can."""
    return forced_by(mode, grammar=lambda: grammar(labels, text))


def grammar(labels: Sequence[str], text: str) -> str:
    """The Lark grammar of this form in which every surface is a non-empty stretch of ``text``."""
    if not text:
        return f"start: {literal(EMPTY)}\n"
    rules = [
        f'start: {literal(EMPTY)} | item ("\\n" item)*',
        'item: surface "\\t" label',
        "label: " + " | ".join(literal(_written(label)) for label in labels),
        *stretches(map(_written, text)),
    ]
    return "\n".join(rules) + "\n"
