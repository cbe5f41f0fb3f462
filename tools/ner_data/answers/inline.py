"""The answer as the text itself, with every entity marked.

For the text 林晓在云帆科技任经理::

    [林晓|name]在[云帆科技|company]任[经理|position]

So an answer says where each mention is. Texts hardly ever hold a mark (CLUENER's train split: ``[`` never, ``|`` five
times); a backslash before a mark or another backslash makes it text. ``[``, ``|`` and ``]`` stay single tokens beside
Chinese characters, so a label is the same token everywhere. XML-like marks take 4 tokens more per answer.

Nested entities are nested marks, up to `DEPTH`. Of two entities that overlap otherwise, the later cannot be written.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from ner_data.answers import forced_by
from ner_data.answers.json_list import Span, literal, storable
from ner_data.gold import Entity, Mention, Parsed

NAME = "inline"
DIRECTIVE = "照抄原文，用方括号标出每个实体及其类别"
FORMAT = "[实体|类别]"
RULES = r"除标记外逐字照抄全文；重复出现的实体逐一标出；原文中的 [、]、|、\ 前加 \；没有实体时只照抄原文"
# The answer to an empty text, as an answer must not be empty.
EMPTY = "原文"
DEPTH = 16  # bounds the sum of the lengths of all surfaces

_MARK = re.compile(r"[\[\]|\\]")
_TOKEN = re.compile(r"\\?[\[\]|\\]|[^\[\]|\\]+")


def render(text: str, entities: Sequence[Entity]) -> str:
    """Write the entities of a text (sorted by position) as the answer that a model should give."""
    parts: list[str] = []
    opened: list[Entity] = []
    at = 0

    def copy(end: int) -> None:
        nonlocal at
        while opened and opened[-1].end <= end:
            closed = opened.pop()
            parts.append(f"{_written(text[at : closed.end])}|{_written(closed.label)}]")
            at = closed.end
        parts.append(_written(text[at:end]))
        at = end

    for entity in sorted(entities, key=lambda entity: (entity.start, -entity.end)):
        copy(entity.start)
        if len(opened) < DEPTH and not (opened and opened[-1].end < entity.end):
            opened.append(entity)
            parts.append("[")
    copy(len(text))
    return "".join(parts) or EMPTY


def _written(text: str) -> str:
    return _MARK.sub(r"\\\g<0>", text)


def parse(answer: str, text: str) -> Parsed:
    """Read an answer back; never raises, whatever the model wrote, and takes linear time.

    Problems:

    - ``inexact``: marks do not match, a backslash is before something else, or what remains without the marks is not
      the text. Mentions are returned; those before the first difference and after the last keep their places.
    - ``bad_item``: a mark without a label or surface; it is returned with what it has.
    - ``unparsable``: it is neither the text nor has it any mark.
    """
    if not text and answer == EMPTY:
        return Parsed(())
    read = _Reading()
    for token in _TOKEN.finditer(answer):
        read.take(token[0], token.start())
    copied = read.text()
    if copied.strip() != text.strip():
        if not read.found:
            return Parsed((), ("unparsable",))
        read.problems.add("inexact")
    mentions = tuple(_placed(sorted(read.found), copied, text))
    return Parsed(mentions, tuple(sorted(read.problems)))


@dataclass(slots=True)
class _Reading:
    """An answer as far as it is read: the text without marks, open marks, and mentions found in it."""

    parts: list[str] = field(default_factory=list)
    length: int = 0
    spans: list[Span] = field(default_factory=list)  # where the answer has the text without marks
    # Open marks: the length of the text before, their position in the answer, the number of spans before.
    opened: list[tuple[int, int, int]] = field(default_factory=list)
    label: list[str] | None = None  # what follows the bar of the innermost open mark
    bar: int = 0  # its position in the answer
    found: list[tuple[int, int, str, tuple[Span, ...]]] = field(default_factory=list)
    problems: set[str] = field(default_factory=set)

    def take(self, token: str, at: int) -> None:
        mark = token if token in ("[", "|", "]") else ""
        if mark == "[":
            self.give_up_label(at)
            if len(self.opened) < DEPTH:
                self.opened.append((self.length, at, len(self.spans)))
            else:
                self.problems.add("inexact")
        elif mark == "|" and self.opened and self.label is None:
            self.label, self.bar = [], at
        elif mark == "]" and self.opened:
            self.close(at)
        else:
            self.add(token, at)

    def add(self, token: str, at: int) -> None:
        """Text, or an escaped mark; a mark that fits nowhere is taken for text."""
        end = at + len(token)
        if token in ("[", "|", "]", "\\"):
            self.problems.add("inexact")
        elif token[0] == "\\":
            token = token[1]
        if self.label is not None:
            self.label.append(token)
        else:
            self.parts.append(token)
            self.length += len(token)
            self.spans.append((at, end))

    def close(self, at: int) -> None:
        """What names a mention: the mark that opens it, its surface without the marks in it, bar and label."""
        (start, opened, before), label = self.opened.pop(), "".join(self.label or [])
        named = [] if self.label is None else [(self.bar, at)]
        self.label = None
        if not label or start == self.length:
            self.problems.add("bad_item")
        self.found.append((start, self.length, label, ((opened, opened + 1), *self.spans[before:], *named)))

    def give_up_label(self, at: int) -> None:
        """A mark opens where a label should end: what was read of the label is text."""
        if self.label is not None:
            read, self.label = ["|", *self.label], None
            self.problems.add("inexact")
            self.parts += read
            self.length += sum(map(len, read))
            self.spans.append((self.bar, at))

    def text(self) -> str:
        if self.opened:
            self.problems.add("inexact")
        return "".join(self.parts)


def _placed(found: Sequence[tuple[int, int, str, tuple[Span, ...]]], copied: str, text: str) -> Iterator[Mention]:
    """Mentions of a copy as mentions of the text: with their places where both agree from one of their ends on.

    White space around either is no difference.
    """
    # Half-open ranges of the copy that agree with the text, and how far away they are in it.
    if copied == text:
        same = [(0, len(copied), 0)]
    else:
        (start, end), (text_start, text_end) = _ends(copied), _ends(text)
        before = _agree(copied[start:end], text[text_start:text_end])
        after = _agree(copied[start:end][::-1], text[text_start:text_end][::-1])
        same = [(start, start + before, text_start - start), (end - after, end, text_end - end)]
    for first, last, label, written in found:
        shifts = (shift for start, end, shift in same if start <= first < last <= end)
        shift = next(shifts, None)
        place = None if shift is None else first + shift
        yield Mention(storable(label), storable(copied[first:last]), place, written)


def _ends(text: str) -> tuple[int, int]:
    """Where a text starts and ends without the white space around it."""
    start = len(text) - len(text.lstrip())
    return start, max(start, len(text.rstrip()))


def _agree(one: str, other: str) -> int:
    """How many characters two strings have in common from their start on."""
    pairs = enumerate(zip(one, other, strict=False))
    return next((n for n, (a, b) in pairs if a != b), min(len(one), len(other)))


def structured(mode: str, labels: Sequence[str], text: str) -> dict[str, Any] | None:
    """The request fields that force this form: a grammar of one text. No JSON schema can."""
    return forced_by(mode, grammar=lambda: grammar(labels, text))


def grammar(labels: Sequence[str], text: str) -> str:
    """The Lark grammar of ``text`` with marks around any stretches of it that are not nested.

    ``o5`` is what follows outside a mark from character 5 on, ``i5`` what follows inside one.
    """
    if not text:
        return f"start: {literal(EMPTY)}\n"
    rules = ["start: o0", "label: " + " | ".join(literal(f"|{_written(label)}]") for label in labels)]
    for n, char in enumerate(text):
        written = literal(_written(char))
        if n + 1 < len(text):
            rules += [f'o{n}: {written} o{n + 1} | "[" i{n}', f"i{n}: {written} (i{n + 1} | label o{n + 1})"]
        else:
            rules += [f'o{n}: {written} | "[" i{n}', f"i{n}: {written} label"]
    return "\n".join(rules) + "\n"
