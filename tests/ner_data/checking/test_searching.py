"""The search for unannotated surfaces finds what a plain search by hand finds, whatever the texts."""

from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st

from ner_data.checking.mentions import inside_word
from ner_data.checking.searching import Hits, Index, _find, _use
from ner_data.gold import Entity, Record

LETTERS = "甲乙丙aB1𠮷\u3000"


@st.composite
def sentences(draw: st.DrawFn) -> Record:
    text = draw(st.text(LETTERS, min_size=1, max_size=25))
    spans = set()
    for _ in range(draw(st.integers(0, 3))):
        start = draw(st.integers(0, len(text) - 1))
        end = draw(st.integers(start + 1, min(len(text), start + 4)))
        spans.add((start, end))
    return Record("x", text, tuple(Entity(start, end, "a", text[start:end]) for start, end in sorted(spans)))


def by_hand(sentence: Record, surfaces: set[str]) -> list[tuple[int, int]]:
    """From left to right, the longest surface that shares no character with a mention."""
    found, at, text = [], 0, sentence.text
    while at < len(text):
        fitting = [
            at + len(surface)
            for surface in surfaces
            if len(surface) > 1
            and text.startswith(surface, at)
            and all(at + len(surface) <= one.start or one.end <= at for one in sentence.entities or ())
            and not inside_word(text, at, at + len(surface))
        ]
        if fitting:
            found.append((at, max(fitting)))
        at = max([at + 1, *fitting])
    return found


@settings(max_examples=200, deadline=None)
@given(st.lists(sentences(), min_size=1, max_size=8))
def test_the_search_finds_what_a_plain_one_finds(texts: list[Record]) -> None:
    surfaces = {one.text for sentence in texts for one in sentence.entities or ()}
    hits = Hits()
    _use(Index(surfaces, set(), set()))
    _find(hits, list(range(len(texts))), texts)
    wanted = [(n, span) for n, sentence in enumerate(texts) for span in by_hand(sentence, surfaces)]
    assert hits.free == Counter(texts[n].text[start:end] for n, (start, end) in wanted)
    assert {spot for spots in hits.spots.values() for spot in spots} <= {(n, *span) for n, span in wanted}
