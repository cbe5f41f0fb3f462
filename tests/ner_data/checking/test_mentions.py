"""What is odd about a mention: punctuation, half words, widths; and what is not."""

import pytest

from ner_data.checking.mentions import core, inside_word, traits


@pytest.mark.parametrize(
    ("surface", "left"),
    [
        ("，北京", "北京"), ("北京。", "北京"), (" 北京\u3000", "北京"), ("《赤壁", "赤壁"), ("赤壁》", "赤壁"), ("“，北京”", "“，北京”"),
        ("（北京", "北京"), ("北京）、", "北京"), ("\"北京", "北京"), ("北京\n", "北京"), ("——", ""), (" ", ""), ("·林晓", "林晓"),
    ],
)  # fmt: skip
def test_punctuation_and_space_at_the_ends_is_odd(surface: str, left: str) -> None:
    start, end = core(surface)
    assert surface[start:end] == left
    assert bool(traits(surface).outer) == (left != surface)


@pytest.mark.parametrize(
    "surface",
    [
        "《赤壁》",
        "“神舟”号",
        "阿里巴巴(中国)",
        "阿里巴巴（中国）",
        "Apple Inc.",
        "Yahoo!",
        ".NET",
        "C#",
        "C++",
        "50%",
        "-5",
        "林晓·布朗",
        "3.5",
        "$5",
    ],
)
def test_pairs_and_names_are_left_alone(surface: str) -> None:
    assert traits(surface).outer == "" and core(surface) == (0, len(surface))


@pytest.mark.parametrize(
    ("text", "start", "end", "odd"),
    [
        ("用iPhone打", 1, 3, True), ("用iPhone打", 1, 7, False), ("用iPhone4打", 1, 7, False), ("在2008年", 1, 3, True), ("在2008年", 1, 5, False),
        ("ＡＢＣ药", 0, 2, True), ("ＡＢＣ药", 0, 3, False), ("北京市", 0, 2, False), ("cafe\u0301的", 0, 4, True), ("ab", 0, 2, False), ("１２例", 1, 2, True),
    ],
)  # fmt: skip
def test_half_words_are_told_by_the_characters_around(text: str, start: int, end: int, odd: bool) -> None:
    assert inside_word(text, start, end) is odd
    assert traits(text[start:end]).word or not odd  # else it would not be looked at


@pytest.mark.parametrize(
    ("surface", "mixed"),
    [
        ("ＣT", True),
        ("１2", True),
        ("CT", False),
        ("ＣＴ", False),
        ("CT（头）", False),
        ("公司(中国）", True),
        ("公司（中国)", True),
        ("(A)（B）", False),
    ],
)
def test_mixed_widths_inside_a_mention(surface: str, mixed: bool) -> None:
    assert bool(traits(surface).mixed) is mixed
