"""Split long documents, with offsets, into pieces short enough for a model trained on sentences, and join the results.

A piece may come with some context before it, and a document may be asked in several passes that cut it elsewhere.
"""

import re
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

from ner_common.errors import UserError
from ner_data.gold import Entity

# A sentence ends at a line break, or at a full stop, question or exclamation mark or semicolon with the closing quotes
# and brackets after it. An ASCII full stop ends one only before white space, not in 3.5 or example.com.
_END = re.compile(r"""(?:[。！？!?；;…]|\.(?=\s))+[”’」』）)\]】》"']*|\n""")
_FULL = re.compile(r"[。！？!?.\n]")  # not a semicolon or dots
_PAUSE = re.compile(r"[，、,：:\s]")
Found = tuple[Entity, float | None]  # an entity and its score


def most_context(longest: int) -> int:
    """How many of a piece's characters may be context."""
    return longest // 2


class Piece(NamedTuple):
    """A part of a text: the model sees it from ``before`` on, and entities are looked for from ``start`` on."""

    before: int
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Cutting:
    """How long texts are cut into pieces, each of at most ``longest`` characters with its context.

    Attributes:
        packed: sentences are packed into a piece while they fit. Else each sentence is a piece: a model that was
            trained on single sentences finds much less in two of them.
        context: up to so many characters come before a piece: the whole sentences among them, else from the first
            pause on, else all of them. They are shown to the model, and nothing in them is found. Where a piece is one
            sentence, only as many as leave it whole.
        passes: how often a text is cut. A later pass cuts the pieces of the first in between, if they are packed or
            parts of a sentence: where a sentence ends, or at a pause, or anywhere, whatever is nearest to the middle
            (for the second of two passes). Other pieces are the same, and are asked once.

    Raises:
        UserError: the context is more than half of ``longest``.
    """

    longest: int
    packed: bool = True
    context: int = 0
    passes: int = 1

    def __post_init__(self) -> None:
        most = most_context(self.longest)
        if not 0 <= self.context <= most:
            problem = (
                f"a piece with its context has {self.longest} characters, and at most half of them may be context"
            )
            raise UserError(f"--context {self.context}: {problem}; give up to {most}, or a larger --longest")

    def cut(self, text: str) -> list[list[Piece]]:
        """The pieces of each pass; a text that fits is one piece in one pass."""
        if len(text) <= self.longest:
            return [[Piece(start, start, end) for start, end in _stripped(text, 0, len(text))]]
        ends = _Ends(text, self.packed)
        room = self.longest - self.context
        limit = room if self.packed else self.longest
        first = _cuts(text, ends, limit, room)
        later = (_between(text, ends, first, limit, number / self.passes) for number in range(1, self.passes))
        return [
            [
                Piece(_context(text, ends, start, min(self.context, self.longest - (end - start))), start, end)
                for left, right in pairwise(places)
                for start, end in _stripped(text, left, right)
            ]
            for places in (first, *later)
        ]


def distinct(cut: Iterable[Sequence[Piece]]) -> list[Piece]:
    """The pieces of all passes, each once, in the order in which they are asked: the same one has the same answer."""
    return list(dict.fromkeys(piece for pieces in cut for piece in pieces))


def segments(text: str, longest: int) -> list[tuple[int, int]]:
    """Cut a text at sentence ends into pieces of at most ``longest`` characters.

    A text that fits is one piece. Sentences are packed into a piece while they fit; a longer sentence is cut at its
    last pause that fits, or after ``longest`` characters.

    Returns:
        Half-open (start, end) of the pieces in characters, in order and without overlap. No piece starts or ends with
        white space; together they hold every other character of the text.
    """
    return [(piece.start, piece.end) for piece in Cutting(longest).cut(text)[0]]


class _Ends(list[int]):
    """Where the parts of a text end: sentences, and those of its parts before a semicolon or dots.

    ``always``: those among them where the text is always cut; none if pieces are packed.
    """

    def __init__(self, text: str, packed: bool) -> None:
        matches = list(_END.finditer(text))
        super().__init__(match.end() for match in matches)
        if not self or self[-1] < len(text):
            self.append(len(text))
        self.always = set() if packed else {match.end() for match in matches if _FULL.search(match[0])}


def _cuts(text: str, ends: _Ends, limit: int, room: int) -> list[int]:
    """Where to cut a text, in order, from 0 to its length: pieces have at most ``limit`` characters.

    What must be cut off has at most ``room``.
    """
    cuts = [0]
    fits = 0
    for end in ends:
        while end - cuts[-1] > limit:
            if fits <= cuts[-1]:
                fits = _pause(text, cuts[-1], cuts[-1] + room)
            cuts.append(fits)
        if end in ends.always:
            cuts.append(end)
        fits = end
    return sorted({*cuts, len(text)})


def _pause(text: str, start: int, end: int) -> int:
    """Where to cut a sentence that does not fit: after its last comma, pause mark or space before ``end``."""
    last = None
    for match in _PAUSE.finditer(text, start, end):
        last = match.end()
    return last if last is not None and last > start else end


def _between(text: str, ends: _Ends, cuts: Sequence[int], longest: int, share: float) -> list[int]:
    """Cuts after a ``share`` of each piece; pieces that become too long are cut once more."""
    known = {0, *ends}
    places = {0, len(text), *ends.always}
    for start, end in pairwise(cuts):
        middle = start + max(1, int((end - start) * share))
        whole = {start, end} <= known
        place = None if whole and ends.always else _sentence_end(ends, start + 1, end - 1, middle)
        if place is None and not whole:
            place = _middle(text, start + 1, end - 1, middle)
        places.add(start if place is None else place)
    for start, end in pairwise(sorted(places)):
        if end - start > longest:  # but at most twice as long
            low, high, middle = end - longest, start + longest, (start + end) // 2
            place = _sentence_end(ends, low, high, middle)
            places.add(_middle(text, low, high, middle) if place is None else place)
    return sorted(places)


def _sentence_end(ends: Sequence[int], low: int, high: int, middle: int) -> int | None:
    """The end of a sentence from ``low`` to ``high`` that is nearest to the middle."""
    inside = ends[bisect_left(ends, low) : bisect_right(ends, high)]
    return min(inside, key=lambda place: abs(place - middle), default=None)


def _middle(text: str, low: int, high: int, middle: int) -> int:
    """The place after a pause from ``low`` to ``high`` that is nearest to the middle, or the middle."""
    pauses = (match.end() for match in _PAUSE.finditer(text, low - 1, high))
    return min(pauses, key=lambda place: abs(place - middle), default=middle)


def _context(text: str, ends: Sequence[int], start: int, context: int) -> int:
    """Where the context of a piece that starts at ``start`` begins."""
    if not context:
        return start
    before = max(0, start - context)
    if before:
        sentence = ends[bisect_left(ends, before)]
        pause = _PAUSE.search(text, before - 1, start - 1) if sentence >= start else None
        before = pause.end() if pause else sentence if sentence < start else before
    return start - len(text[before:start].lstrip())


def _stripped(text: str, start: int, end: int) -> list[tuple[int, int]]:
    piece = text[start:end]
    left = len(piece) - len(piece.lstrip())
    length = len(piece.strip())
    return [(start + left, start + left + length)] if length else []


def joined(length: int, found: Iterable[tuple[Sequence[Piece], Sequence[Found]]]) -> list[Found]:
    """The entities of all passes, sorted: where they overlap, those of the earlier pass.

    But an entity across a cut of all earlier passes, of which they could see a part at most, replaces what they found
    there.

    Args:
        length: of the text, in characters.
        found: for each pass its pieces, in order, and the entities found in them.
    """
    earlier: list[Sequence[Piece]] = []
    kept: list[Found] = []
    for pieces, entities in found:
        across = {entity for entity, _ in entities if earlier and not any(_holds(cut, entity) for cut in earlier)}
        free = _free(length, across)
        kept = [one for one in kept if free(one[0])]
        free = _free(length, (entity for entity, _ in kept))
        kept += [one for one in entities if one[0] in across or free(one[0])]
        earlier.append(pieces)
    return sorted(kept, key=lambda one: one[0])


def _free(length: int, entities: Iterable[Entity]) -> Callable[[Entity], bool]:
    """Whether an entity overlaps none of these."""
    taken = bytearray(length)
    for entity in entities:
        taken[entity.start : entity.end] = b"\1" * (entity.end - entity.start)
    return lambda entity: not any(taken[entity.start : entity.end])


def _holds(pieces: Sequence[Piece], entity: Entity) -> bool:
    """Whether one of the pieces holds an entity as a whole."""
    place = bisect_right(pieces, entity.start, key=lambda piece: piece.start) - 1
    return place >= 0 and entity.end <= pieces[place].end
