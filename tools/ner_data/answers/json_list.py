"""The answer as a JSON list, one object per mention, in order of position.

For the text 林晓在云帆科技任经理::

    [{"text":"林晓","label":"name"},{"text":"云帆科技","label":"company"},{"text":"经理","label":"position"}]

The surface comes first, so a model labels what it has just copied instead of naming the label of a mention it has yet
to find. Separators are compact: 8 tokens of a Qwen tokenizer per item instead of 11.
"""

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import msgspec

from ner_data.answers import forced_by
from ner_data.gold import Entity, Mention, Parsed

NAME = "json_list"
DIRECTIVE = "以 JSON 列表作答"
FORMAT = '[{"text":"实体","label":"类别"}]'

# The bound keeps the search linear on hostile answers; no surface is that long.
STRING = r""""(?:[^"\\]|\\.){0,512}+"|'(?:[^'\\]|\\.){0,512}+'"""
_ITEM = re.compile(
    rf"""\{{\s*+(["'])(?P<key>label|text)\1\s*+:\s*+(?P<first>{STRING})\s*+,"""
    rf"""\s*+(["'])(?P<other>label|text)\4\s*+:\s*+(?P<second>{STRING})\s*+,?\s*+\}}""",
    re.DOTALL,
)
_EMPTY = re.compile(r"\[\s*+\]")
_JSON_STRING = re.compile(r'"(?:[^"\\]|\\.)*+"', re.DOTALL)
ENCODER = msgspec.json.Encoder()
Span = tuple[int, int]
# Objects as tuples of (key, value), so repeated keys are noticed.
DECODER = json.JSONDecoder(object_pairs_hook=tuple)


def render(text: str, entities: Sequence[Entity]) -> str:
    """Write the entities of a text (sorted by position) as the answer that a model should give."""
    return ENCODER.encode([{"text": entity.text, "label": entity.label} for entity in entities]).decode()


def parse(answer: str, text: str) -> Parsed:
    """Read an answer back; never raises, whatever the model wrote, and takes linear time.

    An answer that is exactly in the form has no problems. Otherwise ``problems`` says what is wrong:

    - ``inexact``: complete items were found in an answer that is not exactly in the form (a code fence, words around
      the list, single quotes, a truncated list); they are returned.
    - ``bad_item``: the list is JSON, but an item lacks a string label or text, or has more than these; the item is
      returned with what it has and so counts as an error.
    - ``unparsable``: nothing could be read; there are no mentions.
    """
    whole = answer.strip(" \t\r\n")  # JSON's white space
    try:
        value, end = DECODER.raw_decode(whole)  # as `json.loads` does, but faster
    except (ValueError, RecursionError):
        return _search(answer)
    if end < len(whole) or not isinstance(value, list):
        return _search(answer)
    named = []
    exact = True
    for item in value:
        fields = dict(item) if isinstance(item, tuple) else {}
        label, surface = fields.get("label"), fields.get("text")
        exact &= isinstance(label, str) and isinstance(surface, str) and len(item) == 2
        named.append((storable(label), storable(surface)))
    written = (_as_rendered(value, answer) if exact else None) or _as_found(value, answer)
    mentions = tuple(Mention(*name, None, where) for name, where in zip(named, written, strict=True))
    return Parsed(mentions, () if exact else ("bad_item",))


def _as_rendered(value: Any, answer: str) -> list[tuple[Span, ...]] | None:
    """What names each mention of an exact answer, by its lengths alone; None unless it is as `render` writes it.

    White space, escapes and another order are longer or begin otherwise. Most answers are so, and the search for
    strings would double the time of reading them.
    """
    written: list[tuple[Span, ...]] = []
    at = len("[")
    for (key, surface), (_, label) in value:
        if key != "text":
            return None
        start = at + len('{"text":"')
        end = start + len(surface) + len('"')
        label_start = end + len(',"label":"')
        label_end = label_start + len(label)
        written.append(((start, end), (label_start, label_end)))
        at = label_end + len('"},')  # after the last one, there is ] for the comma
    return written if at == len(answer) else None


def _as_found(value: Any, answer: str) -> Iterator[tuple[Span, ...]]:
    """What names each mention of an answer that is a JSON list."""
    strings = Strings(answer)
    for item in value:
        at: dict[str, Span] = {}
        if not isinstance(item, tuple):
            strings.skip(item)
            item = ()
        for key, given in item:
            strings.skip(key)
            if isinstance(given, str):
                at[key] = strings.next()
            else:
                strings.skip(given)
                at.pop(key, None)
        yield names(at.get("text"), at.get("label"))


class Strings:
    """Where the strings of a JSON document are, with their quotes, in the order of the document."""

    def __init__(self, document: str) -> None:
        self._spans = [match.span() for match in _JSON_STRING.finditer(document)]
        self._at = 0

    def next(self) -> Span:
        self._at += 1
        return self._spans[self._at - 1]

    def skip(self, value: Any) -> None:
        """Go past the strings of a value (as `DECODER` reads it), the keys of objects among them."""
        if isinstance(value, str):
            self._at += 1
            return
        left = [value]
        while left:  # not a recursion: it may be nested deeply
            one = left.pop()
            self._at += isinstance(one, str)
            if isinstance(one, list | tuple):
                left += one


def names(surface: Span | None, label: Span | None) -> tuple[Span, ...]:
    """What names a mention, from where its strings are: the surface to the quote that ends it, the label without."""
    if surface and label:
        return (surface[0] + 1, surface[1]), (label[0] + 1, label[1] - 1)
    return ((surface[0] + 1, surface[1]),) if surface else ((label[0] + 1, label[1] - 1),) if label else ()


def _search(answer: str) -> Parsed:
    """Collect the complete items of an answer that is not a JSON list."""
    mentions = []
    for match in _ITEM.finditer(answer):
        if match["key"] != match["other"]:
            item = {match["key"]: unquote(match["first"]), match["other"]: unquote(match["second"])}
            at = {match["key"]: match.span("first"), match["other"]: match.span("second")}
            written = names(at["text"], at["label"])
            mentions.append(Mention(storable(item["label"]), storable(item["text"]), None, written))
    if mentions or _EMPTY.search(answer):
        return Parsed(tuple(mentions), ("inexact",))
    return Parsed((), ("unparsable",))


def unquote(literal: str) -> str:
    """The value of a quoted string; taken literally if its escapes are not JSON's."""
    body = literal[1:-1]
    if literal[0] == "'":
        body = body.replace("\\'", "'").replace('"', '\\"')
    try:
        return str(json.loads(f'"{body}"', strict=False))
    except ValueError:
        return body


def storable(value: Any) -> str:
    """A string without lone surrogates, which no UTF-8 file can hold; empty if it is not a string."""
    if not isinstance(value, str):
        return ""
    try:
        value.encode()
    except UnicodeEncodeError:
        return value.encode("utf-8", "replace").decode("utf-8")
    return value


def structured(mode: str, labels: Sequence[str], text: str) -> dict[str, Any] | None:
    """The request fields that force this form: a JSON schema (``json``) or a grammar of one text (``grammar``)."""
    return forced_by(mode, schema=lambda: schema(labels), grammar=lambda: grammar(labels, text))


def schema(labels: Sequence[str]) -> dict[str, Any]:
    """The JSON schema of this form."""
    return {
        "type": "array",
        "items": {
            "type": "object",
            "properties": {"text": {"type": "string"}, "label": {"type": "string", "enum": list(labels)}},
            "required": ["text", "label"],
            "additionalProperties": False,
        },
    }


def grammar(labels: Sequence[str], text: str) -> str:
    """The Lark grammar of this form in which every surface is a non-empty substring of ``text``.

    One rule per character: a surface starts at any of them and continues with the next. (llguidance's ``%regex
    {"substring_chunks": …}`` does the same in one line, but allows the empty string.) Surfaces are inside JSON
    strings, so each character is written as JSON escapes it, and is taken whole or not at all.
    """
    if not text:
        return 'start: "[]"\n'
    rules = [
        'start: "[" (item ("," item)*)? "]"',
        'item: "{\\"text\\":\\"" surface "\\",\\"label\\":" label "}"',
        "label: " + " | ".join(literal(json.dumps(label, ensure_ascii=False)) for label in labels),
        *stretches(json.dumps(char, ensure_ascii=False)[1:-1] for char in text),
    ]
    return "\n".join(rules) + "\n"


def stretches(chars: Iterable[str]) -> list[str]:
    """Lark rules for ``surface``: any non-empty stretch of a text whose characters are written as given."""
    *firsts, last = map(literal, chars)
    following = (f"c{n}: {char} c{n + 1}?" for n, char in enumerate(firsts))
    return ["surface: " + " | ".join(f"c{n}" for n in range(len(firsts) + 1)), *following, f"c{len(firsts)}: {last}"]


def literal(string: str) -> str:
    """A string as Lark writes it."""
    return json.dumps(string, ensure_ascii=False)
