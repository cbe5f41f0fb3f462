"""Locate the surfaces that a model named in the text. Models are never asked for offsets as numbers."""

from collections.abc import Sequence

from ner_data.gold import Mention

Span = tuple[int, int]


def align(mentions: Sequence[Mention], text: str) -> list[Span | None]:
    """Locate each mention in the text: half-open character offsets, ``None`` if its surface does not occur.

    A mention that says where it starts stays there. The others are expected in order of position: each one is searched
    for after the end of the one before. If it is not found there, it gets the first occurrence that no mention of its
    label has taken. If all are taken (the model repeats itself), it gets the first occurrence, and the same label and
    span are returned twice.
    """
    occurrences: dict[str, list[int]] = {}
    taken: set[tuple[str, Span]] = set()
    # How many of a mention's occurrences are known to be taken: checking them again each time would take long if a
    # model repeats itself endlessly.
    passed: dict[Mention, int] = {}
    spans: list[Span | None] = []
    after = 0
    for mention in mentions:
        length = len(mention.text)
        start = _place(mention, text, after) if length else -1
        if start < 0:
            starts = occurrences.get(mention.text)
            if starts is None:
                starts = occurrences[mention.text] = _occurrences(mention.text, text)
            if not starts:
                spans.append(None)
                continue
            place = passed.get(mention, 0)
            while place < len(starts) and (mention.label, (starts[place], starts[place] + length)) in taken:
                place += 1
            passed[mention] = place
            start = starts[place] if place < len(starts) else starts[0]
        span = (start, start + length)
        taken.add((mention.label, span))
        after = max(after, span[1])
        spans.append(span)
    return spans


def _place(mention: Mention, text: str, after: int) -> int:
    if mention.start is not None and text.startswith(mention.text, mention.start):
        return mention.start
    return text.find(mention.text, after)


def _occurrences(surface: str, text: str) -> list[int]:
    """Where a surface starts in the text, including overlaps; an empty surface occurs nowhere."""
    starts: list[int] = []
    start = text.find(surface) if surface else -1
    while start >= 0:
        starts.append(start)
        start = text.find(surface, start + 1)
    return starts
