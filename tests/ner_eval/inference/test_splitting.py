"""Long documents are split at sentence ends, and nothing is lost."""

import time

from hypothesis import given, settings
from hypothesis import strategies as st

from ner_eval.inference.splitting import segments


def test_a_text_that_fits_is_not_cut() -> None:
    assert segments("一。二。三。", 6) == [(0, 6)]


def test_sentences_are_packed_and_never_cut_when_they_fit() -> None:
    text = "一二三。四五六。“七八九。”十"
    assert [text[slice(*piece)] for piece in segments(text, 8)] == ["一二三。四五六。", "“七八九。”十"]
    assert [text[slice(*piece)] for piece in segments(text, 6)] == ["一二三。", "四五六。", "“七八九。”", "十"]


def test_a_sentence_that_does_not_fit_is_cut_at_a_pause_or_at_the_limit() -> None:
    text = "一二，三四五六七八九十"
    assert [text[slice(*piece)] for piece in segments(text, 5)] == ["一二，", "三四五六七", "八九十"]


def test_full_stops_end_a_sentence_and_decimal_points_do_not() -> None:
    text = "pi is 3.14159. That is it."
    assert [text[slice(*piece)] for piece in segments(text, 15)] == ["pi is 3.14159.", "That is it."]


@settings(deadline=None)
@given(st.text("甲乙。！\n ，”a.", max_size=60), st.integers(1, 20))
def test_pieces_are_ordered_disjoint_short_enough_and_complete(text: str, longest: int) -> None:
    pieces = segments(text, longest)
    covered = [index for start, end in pieces for index in range(start, end)]
    assert covered == sorted(set(covered))
    assert all(start < end <= start + longest and text[start:end].strip() == text[start:end] for start, end in pieces)
    assert all(text[index].isspace() for index in set(range(len(text))) - set(covered))


def test_a_million_characters_without_a_pause_are_cut_at_once() -> None:
    begin = time.process_time()
    assert len(segments("字" * 1_000_000, 100)) == 10_000
    assert len(segments("。" * 1_000_000, 100)) >= 10_000
    assert time.process_time() - begin < 5


# --- answers ----------------------------------------------------------------------------------------------------------
