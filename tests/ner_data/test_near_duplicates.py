"""Near-duplicate texts: the groups are those of an exhaustive comparison."""

from itertools import combinations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ner_data.near_duplicates import bigrams, groups, similarity

OTHER = "据了解，海腾传媒宣布任命费舍尔·布朗为首席产品秘书。"


def exhaustive(texts: list[str], threshold: float) -> list[int]:
    """Compare all pairs, until nothing changes any more."""
    group = list(range(len(texts)))
    for one, other in combinations(range(len(texts)), 2):
        if similarity(bigrams(texts[one]), bigrams(texts[other])) >= threshold:
            low, high = sorted((group[one], group[other]))
            group = [low if number == high else number for number in group]
    return group


def test_versions_of_one_sentence_are_a_group() -> None:
    texts = [
        "目的：观察柴枳平肝汤治疗功能性消化不良肝胃不和证的临床疗效",
        OTHER,
        "柴枳平肝汤治疗功能性消化不良肝胃不和证的临床观察",
        "目的: 观察柴枳平肝汤治疗功能性消化不良肝胃不和证的临床疗效",
    ]
    assert groups(texts).of == [0, 1, 0, 0]
    assert groups(texts, 0.9).of == [0, 1, 2, 0]
    assert groups(texts, 1).of == [0, 1, 2, 0]


def test_width_case_and_white_space_make_no_difference() -> None:
    assert groups(["ＡＢＣ １２３", "abc123", "a b\u3000c\n123", "abc124"], 1).of == [0, 0, 0, 3]


def test_others_connect_two_texts() -> None:
    a, c = "甲乙丙丁戊己庚辛壬癸", "甲乙丙丁戊己庚辛子丑"
    b = "甲乙丙丁戊己庚辛"
    assert similarity(bigrams(a), bigrams(c)) == 7 / 11
    assert groups([a, c], 0.7).of == [0, 1]
    assert groups([a, c, b], 0.7).of == [0, 0, 0]


def test_short_and_blank_texts() -> None:
    assert groups([]).of == []
    assert groups(["", "甲", " ", "甲", "甲甲", "乙"]).of == [0, 1, 0, 1, 4, 5]


def test_a_thousand_copies_are_one_group() -> None:
    copies = [
        f"发表于20{number // 100:02}年《大众软件》第{number % 100}期的一篇很长的评测文章" for number in range(1000)
    ]
    assert set(groups([OTHER, *copies]).of) == {0, 1}


@pytest.mark.parametrize("threshold", [0.5, 0.7, 0.9])
@settings(max_examples=60, deadline=None, derandomize=True)
@given(texts=st.lists(st.text("甲乙丙丁", min_size=0, max_size=30), max_size=12))
def test_groups_are_those_of_comparing_all_pairs(threshold: float, texts: list[str]) -> None:
    variants = texts + [text[:-1] + "戊" for text in texts if len(text) > 8]
    assert groups(variants, threshold).of == exhaustive(variants, threshold)
