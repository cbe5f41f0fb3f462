"""Tell sentences apart, and cut long texts at their ends, never inside a mention."""

import re
from bisect import bisect_right
from collections.abc import Iterator, Sequence

from ner_data.gold import Entity

# After the mark that ends a sentence and the quotes and brackets that close with it; or after a line break.
_CLOSING, _STOP = r"”’」』）)】\]\"'", r"(?<=[a-zA-Z0-9])\.(?=\s)"
_END = re.compile(rf"[。！？!?…；;]+[{_CLOSING}]*|{_STOP}|\n+")
_MORE = re.compile(rf"(?:[。！？!?]|{_STOP}|\n)[{_CLOSING}\s]*[^{_CLOSING}\s。！？!?]")
Part = tuple[int, str, tuple[Entity, ...] | None]


def has_several(text: str) -> bool:
    """Whether a text goes on after the end of a sentence; a semicolon or dots end none here."""
    return _MORE.search(text) is not None


def cut(text: str, entities: Sequence[Entity] | None, most: int) -> Iterator[Part]:
    """Yield (offset, text, entities) of the parts of a text: as many whole sentences as fit into ``most`` characters.

    Joined, the parts are the text; their entities have offsets in their part. A sentence that is longer, or that a
    mention holds together, stays whole.
    """
    ends = [0, *dict.fromkeys([match.end() for match in _END.finditer(text)] + [len(text)])]
    if entities:
        inside = sorted((entity.start, entity.end) for entity in entities)
        starts = [start for start, _ in inside]
        reach = [end for _, end in inside]
        for at in range(1, len(reach)):
            reach[at] = max(reach[at], reach[at - 1])
        # An end is inside a mention if one that starts before it reaches beyond it.
        ends = [end for end in ends if not (before := bisect_right(starts, end - 1)) or reach[before - 1] <= end]
    start = 0
    for end, following in zip(ends[1:], [*ends[2:], None], strict=True):
        if following is None or following - start > most:
            yield _part(text, entities, start, end)
            start = end


def _part(text: str, entities: Sequence[Entity] | None, start: int, end: int) -> Part:
    if entities is None:
        return start, text[start:end], None
    inside = [entity for entity in entities if start <= entity.start and entity.end <= end]
    moved = tuple(Entity(e.start - start, e.end - start, e.label, e.text) for e in inside)
    return start, text[start:end], moved
