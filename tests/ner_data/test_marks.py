"""Marks of a word segmentation next to the characters of a BIO file: never text, whichever they are."""

import random
from collections.abc import Callable
from pathlib import Path

import pytest

from ner_common.errors import UserError
from ner_data.formats import bio
from raw_files import read

QUICK, LONG = pytest.param(1, id="quick"), pytest.param(20, id="long", marks=pytest.mark.slow)
HAN = "头晕目眩病人看医生咳嗽发热三天张伟李娜在北京大学工作"
FULL_WIDTH = str.maketrans("0123456789", "０１２３４５６７８９")


def bmes(at: int, length: int) -> str:
    return "S" if length == 1 else "B" if at == 0 else "E" if at == length - 1 else "M"


# What stands at a character, by its place in the word and the word's length.
MARKS: dict[str, Callable[[int, int], str]] = {
    "positions from 0": lambda at, length: f"{at}",
    "positions from 1": lambda at, length: f"{at + 1}",
    "positions of longer words": lambda at, length: f"{at}" if length > 1 else "",
    "positions from 1 of longer words": lambda at, length: f"{at + 1}" if length > 1 else "",
    "full-width": lambda at, length: f"{at}".translate(FULL_WIDTH),
    "full-width from 1 of longer words": lambda at, length: f"{at + 1}".translate(FULL_WIDTH) if length > 1 else "",
    "lengths": lambda at, length: f"{length}",
    "both": lambda at, length: f"{at}/{length}",
    "circled": lambda at, length: "①②③④"[at],
    "lowered": lambda at, length: "₁₂₃₄"[at],
    "BMES": bmes,
    "BMES of longer words": lambda at, length: bmes(at, length) if length > 1 else "",
    "BMES in lower case": lambda at, length: f"_{bmes(at, length).lower()}",
    "full-width BMES": lambda at, length: chr(ord(bmes(at, length)) + 0xFEE0),
    "a slash behind words": lambda at, length: "/" if at == length - 1 else "",
}


def rows(chance: random.Random, mark: Callable[[int, int], str], sentences: int) -> str:
    lines = []
    for _ in range(sentences):
        for _ in range(chance.randint(2, 12)):
            length = chance.choice([1, 1, 2, 2, 3, 4])
            lines += [f"{chance.choice(HAN)}{mark(at, length)} O" for at in range(length)]
            lines += chance.choices([["， O"], ["CT O"], ["。 O"], []], [1, 1, 1, 9])[0]
        lines.append("")
    return "\n".join(lines)


@pytest.mark.parametrize("times", [QUICK, LONG])
@pytest.mark.parametrize("name", MARKS)
def test_a_file_with_marks_is_refused_in_one_line(tmp_path: Path, name: str, times: int) -> None:
    chance, refused = random.Random(name), 0
    for _ in range(10 * times):
        (tmp_path / "a.txt").write_text(rows(chance, MARKS[name], 20), "utf-8")
        with pytest.raises(UserError, match=r"a\.txt:\d+: the tokens carry .* marks .*; remove these digits") as error:
            list(read(bio, tmp_path / "a.txt", True))
        assert "\n" not in str(error.value)
        refused += 1
    assert refused == 10 * times


def test_marks_before_the_character_are_marks_if_most_tokens_have_them(tmp_path: Path) -> None:
    text = "".join(f"{mark}{char} O\n" for mark, char in zip("BMESBME", HAN, strict=False))
    (tmp_path / "a.txt").write_text(text, "utf-8")
    with pytest.raises(UserError, match=r"a\.txt:1: .*'B头 O'"):
        list(read(bio, tmp_path / "a.txt", True))


@pytest.mark.parametrize("times", [QUICK, LONG])
def test_tokens_of_several_characters_without_marks_are_text(tmp_path: Path, times: int) -> None:
    """Words, numbers and units next to single characters, as tokenizers write them."""
    chance, kept = random.Random(3), 0
    words = ["CT", "10", "21", "B超", "5mg", "80", "维C", "第1", "5年", "3次", "2020年", "新冠", "X线", "T1", "ＣＴ"]
    for _ in range(100 * times):
        tokens: list[str] = []
        for _ in range(chance.randint(5, 40)):
            tokens += [*chance.sample(HAN, chance.randint(1, 4)), chance.choice(words), "，"]
        (tmp_path / "a.txt").write_text("".join(f"{token} O\n" for token in tokens), "utf-8")
        (sample,) = read(bio, tmp_path / "a.txt", True)
        assert (sample.problem, sample.text) == (None, "".join(tokens))
        kept += 1
    assert kept == 100 * times


@pytest.mark.parametrize("token", ["80", "10", "CT", "5mg", "B超", "维C"])
def test_a_single_token_tells_nothing(tmp_path: Path, token: str) -> None:
    (tmp_path / "a.txt").write_text(f"{token} O\n\n" * 9, "utf-8")
    assert [sample.text for sample in read(bio, tmp_path / "a.txt", True)] == [token] * 9


def test_numbers_in_a_row_are_no_positions(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("10 O\n21 O\n10 O\n\n10 O\n\n21 B-x\n\n10 O\n\n10 O\n、 O\n21 O\n", "utf-8")
    first, *rest = read(bio, tmp_path / "a.txt", True)
    assert first.problem and first.problem[0] == "words"  # 10 21 10 or 102110?
    assert [(sample.problem, sample.text) for sample in rest] == [(None, t) for t in ("10", "21", "10", "10、21")]
