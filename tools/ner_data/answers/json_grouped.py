"""The answer as one JSON object: each label that occurs, with the list of its surfaces.

For the text 林晓在云帆科技任经理::

    {"name":["林晓"],"company":["云帆科技"],"position":["经理"]}

Labels come in the order of their first mentions and surfaces in the order of the text, so a model still writes from
left to right. The order of mentions of different labels is read back from the text: each list is located by itself,
then all mentions are sorted by position.
"""

import json
import re
from collections.abc import Iterator, Sequence
from typing import Any

from ner_data.alignment import align
from ner_data.answers import forced_by
from ner_data.answers.json_list import DECODER, STRING, Span, Strings, literal, storable, stretches, unquote
from ner_data.gold import Entity, Mention, Parsed

NAME = "json_grouped"
DIRECTIVE = "以 JSON 对象作答，键为类别，值为该类别实体的列表"
FORMAT = '{"类别":["实体"]}'
RULES = "实体须逐字照抄原文；同类实体按出现的先后顺序排列，重复出现的实体重复列出；没有实体时输出 {empty}"

_TOKEN = re.compile(rf"(?P<string>{STRING})|[:\[\]]", re.DOTALL)
_EMPTY = re.compile(r"\{\s*+\}")


def render(text: str, entities: Sequence[Entity]) -> str:
    """Write the entities of a text (sorted by position) as the answer that a model should give."""
    groups: dict[str, list[str]] = {}
    for entity in entities:
        groups.setdefault(entity.label, []).append(entity.text)
    return json.dumps(groups, ensure_ascii=False, separators=(",", ":"))


def parse(answer: str, text: str) -> Parsed:
    """Read an answer back; never raises, whatever the model wrote, and takes linear time.

    An answer that is exactly in the form has no problems. Otherwise ``problems`` says what is wrong:

    - ``inexact``: complete surfaces were found in an answer that is not exactly in the form (a code fence, words
      around the object, a truncated list, a label without surfaces or given twice); they are returned.
    - ``bad_item``: the object is JSON, but a value is no list, or a surface no string or empty; it is returned with
      what it has and so counts as an error.
    - ``unparsable``: nothing could be read; there are no mentions.
    """
    whole = answer.strip(" \t\r\n")
    try:
        value, end = DECODER.raw_decode(whole)
    except (ValueError, RecursionError):
        return _search(answer, text)
    # `DECODER` makes tuples of objects; `{}` is an empty one.
    if end < len(whole) or not isinstance(value, tuple):
        return _search(answer, text)
    mentions, strings = [], Strings(answer)
    for label, given in value:
        label_at = strings.next()
        for surface in _surfaces(given):
            if isinstance(surface, str):
                mentions.append(_mention(label, label_at, surface, strings.next()))
            else:
                strings.skip(surface)
                mentions.append(_mention(label, label_at, "", None))
    if not all(isinstance(given, list) and all(isinstance(s, str) and s for s in given) for _, given in value):
        problems: tuple[str, ...] = ("bad_item",)
    else:
        exact = all(given for _, given in value) and len({label for label, _ in value}) == len(value)
        problems = () if exact else ("inexact",)
    return Parsed(_in_order(mentions, text), problems)


def _mention(label: str, label_at: Span, surface: str, surface_at: Span | None) -> Mention:
    """A mention, and what names it: label and surface without quotes, as the quote after a surface may be one token
    with what says whether another follows.
    """
    places = [label_at, surface_at] if surface_at else [label_at]
    written = tuple((start + 1, end - 1) for start, end in places)
    return Mention(storable(label), storable(surface), None, written)


def _surfaces(given: Any) -> list[Any]:
    return given if isinstance(given, list) else [given]


def _search(answer: str, text: str) -> Parsed:
    """Collect the complete surfaces of an answer that is not a JSON object."""
    mentions = tuple(_items(answer))
    if mentions or _EMPTY.search(answer):
        return Parsed(_in_order(mentions, text), ("inexact",))
    return Parsed((), ("unparsable",))


def _items(answer: str) -> Iterator[Mention]:
    """A string before ``:`` is a label; every other string between ``[`` and ``]`` is a surface of the last label."""
    label: re.Match[str] | None = None
    string: re.Match[str] | None = None
    listed = False

    def found(label: re.Match[str], string: re.Match[str]) -> Mention:
        return _mention(unquote(label[0]), label.span(), unquote(string[0]), string.span())

    for token in _TOKEN.finditer(answer):
        if token[0] == ":":
            label, string, listed = string, None, False
            continue
        if string is not None and listed and label is not None:
            yield found(label, string)
        string = token if token["string"] else None
        listed = token[0] == "[" or (listed and string is not None)
    if string is not None and listed and label is not None:
        yield found(label, string)


def _in_order(mentions: Sequence[Mention], text: str) -> tuple[Mention, ...]:
    """Mentions that are grouped by label, in the order of the text; those that are not in it come last."""
    groups: dict[str, list[Mention]] = {}
    for mention in mentions:
        groups.setdefault(mention.label, []).append(mention)
    nowhere = (len(text), len(text))
    placed = [
        ((*span, mention.label) if span else (*nowhere, ""), mention)
        for group in groups.values()
        for mention, span in zip(group, align(group, text), strict=True)
    ]
    return tuple(mention for _, mention in sorted(placed, key=lambda item: item[0]))


def structured(mode: str, labels: Sequence[str], text: str) -> dict[str, Any] | None:
    """The request fields that force this form: a JSON schema (``json``) or a grammar of one text (``grammar``)."""
    return forced_by(mode, schema=lambda: schema(labels), grammar=lambda: grammar(labels, text))


def schema(labels: Sequence[str]) -> dict[str, Any]:
    """The JSON schema of this form.

    Labels are a pattern, not properties: xgrammar would force the order of properties upon the answer.
    """
    surfaces = {"type": "array", "items": {"type": "string", "minLength": 1}, "minItems": 1}
    pattern = f"^({'|'.join(map(re.escape, labels))})$"
    return {"type": "object", "patternProperties": {pattern: surfaces}, "additionalProperties": False}


def grammar(labels: Sequence[str], text: str) -> str:
    """The Lark grammar of this form in which every surface is a non-empty stretch of ``text``."""
    if not text:
        return 'start: "{}"\n'
    rules = [
        'start: "{" (group ("," group)*)? "}"',
        'group: label ":[" item ("," item)* "]"',
        'item: "\\"" surface "\\""',
        "label: " + " | ".join(literal(json.dumps(label, ensure_ascii=False)) for label in labels),
        *stretches(json.dumps(char, ensure_ascii=False)[1:-1] for char in text),
    ]
    return "\n".join(rules) + "\n"
