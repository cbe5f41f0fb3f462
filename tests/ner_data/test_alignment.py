from hypothesis import given, settings
from hypothesis import strategies as st

from ner_data.alignment import align
from ner_data.gold import Mention


def spans(text: str, *mentions: str) -> list[tuple[int, int] | None]:
    return align([Mention(*mention.split(":")) for mention in mentions], text)


def test_mentions_are_located_left_to_right() -> None:
    assert spans("上海的上海银行", "address:上海", "company:上海银行") == [(0, 2), (3, 7)]


def test_repeated_mentions_get_one_occurrence_each() -> None:
    assert spans("甲和甲和甲", "a:甲", "a:甲", "a:甲") == [(0, 1), (2, 3), (4, 5)]


def test_a_surface_that_does_not_occur_is_none_and_moves_nothing() -> None:
    assert spans("甲乙甲", "a:甲", "a:丙", "a:甲", "a:") == [(0, 1), None, (2, 3), None]


def test_mentions_out_of_order_fall_back_to_the_first_free_occurrence() -> None:
    assert spans("甲乙甲", "a:乙", "a:甲", "a:甲") == [(1, 2), (2, 3), (0, 1)]


def test_a_mention_too_many_repeats_a_span() -> None:
    assert spans("甲乙", "a:甲", "a:甲") == [(0, 1), (0, 1)]


def test_two_labels_can_share_every_occurrence() -> None:
    assert sorted(filter(None, spans("甲乙甲", "a:甲", "b:甲", "a:甲", "b:甲"))) == [(0, 1), (0, 1), (2, 3), (2, 3)]
    assert spans("甲乙", "a:甲", "b:甲") == [(0, 1), (0, 1)]


def test_a_nested_mention_is_found_inside_the_longer_one() -> None:
    assert spans("云帆科技经理", "company:云帆科技", "brand:云帆") == [(0, 4), (0, 2)]


@settings(deadline=None)
@given(
    st.text("甲乙丙", max_size=12),
    st.lists(st.tuples(st.sampled_from("ab"), st.text("甲乙丙丁", max_size=3)), max_size=8),
)
def test_spans_hold_the_surface_and_none_means_absent(text: str, items: list[tuple[str, str]]) -> None:
    mentions = [Mention(*item) for item in items]
    for mention, span in zip(mentions, align(mentions, text), strict=True):
        if span is None:
            assert not mention.text or mention.text not in text
        else:
            assert text[slice(*span)] == mention.text


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.text("甲乙丙", min_size=1, max_size=3), st.text("丁戊", min_size=1, max_size=2)), max_size=6)
)
def test_all_surfaces_listed_in_order_come_back_at_their_places(parts: list[tuple[str, str]]) -> None:
    text, gold = "", []
    for surface, filler in parts:
        gold.append((len(text), len(text) + len(surface)))
        text += surface + filler
    assert align([Mention("a", surface) for surface, _ in parts], text) == gold
