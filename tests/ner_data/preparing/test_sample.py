"""Samples: as many as were asked for, every label often enough, the other splits whole."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ner_data import Record, sample
from small_corpora import marked
from support import Result, one_line_error

Cli = Callable[..., Result]
New = Callable[[str], dict[str, list[Record]]]
LINES = [f"[林{number}|name]第{number}次来" for number in range(40)]
RARE = [f"[海腾{number}|company]来人" for number in range(5)]


def test_a_number_of_records_in_their_order(corpus: Any, cli: Cli, new: New) -> None:
    corpus("a", train=LINES, dev=LINES[:3])
    result = cli("ner-data", "sample", "a", "b", "--number", "10", "--seed", "1")
    assert result.code == 0, result.err
    assert result.out == (
        "read 43, kept 13, rejected 30 (not drawn from train 30)\n"
        "data/raw/b/train.jsonl: 10 records\ndata/raw/b/dev.jsonl: 3 records\nnext: make data CORPUS=b\n"
    )
    drawn = marked(new("b")["train"])
    assert drawn == [line for line in LINES if line in drawn]
    assert marked(new("b")["dev"]) == LINES[:3]


def test_a_larger_sample_has_the_smaller_one(corpus: Any, new: New) -> None:
    corpus("a", train=LINES)
    for number in (5, 20):
        sample("a", f"b{number}", number=number, seed=4)
    sample("a", "other", number=5, seed=5)
    small, large, other = (set(marked(new(name)["train"])) for name in ("b5", "b20", "other"))
    assert small < large
    assert small != other


def test_a_share_of_several_splits(corpus: Any, cli: Cli, new: New) -> None:
    corpus("a", train=LINES, dev=LINES[:10], test=LINES[:2])
    result = cli("ner-data", "sample", "a", "b", "--share", "0.1", "--splits", "train", "test")
    assert "rejected 37 (not drawn from train 36; not drawn from test 1)" in result.out
    assert {split: len(records) for split, records in new("b").items()} == {"train": 4, "dev": 10, "test": 1}


def test_every_label_often_enough(corpus: Any, cli: Cli, new: New) -> None:
    corpus("a", train=[*LINES, *RARE])
    result = cli("ner-data", "sample", "a", "b", "--number", "12", "--per-label", "3")
    assert result.code == 0, result.err
    counts = Counter(entity.label for record in new("b")["train"] for entity in record.gold)
    assert counts["company"] >= 3 and counts["name"] >= 3 and counts.total() == 12


def test_per_label_alone_takes_no_more_than_needed(corpus: Any, cli: Cli, new: New) -> None:
    both = "[林晓|name]在[云帆|company]"
    corpus("a", train=[*LINES, both])
    result = cli("ner-data", "sample", "a", "b", "--per-label", "2")
    drawn = marked(new("b")["train"])
    assert len(drawn) == 2 and both in drawn
    assert "note: train: fewer than 2 records have company (1)\n" in result.out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--number", "41"], "a train: has 40 records, not 41; ask for fewer"),
        (["--share", "1.5"], "--share 1.5: must be above 0 and at most 1"),
        ([], "ask for --number N or --share F"),
        (["--number", "3", "--share", "0.5"], "ask for --number N or --share F"),
        (["--number", "3", "--per-label", "4"], "a train: 3 records cannot show each label 4 times; ask for 4"),
        (["--number", "3", "--splits", "test"], "a: has no split test; it has train"),
    ],
)
def test_what_cannot_be_drawn(corpus: Any, cli: Cli, words: list[str], message: str) -> None:
    corpus("a", train=LINES)
    assert message in one_line_error(cli("ner-data", "sample", "a", "b", *words))
    assert not Path("data/raw").exists() and not Path("data/corpora/b.yaml").exists()


@pytest.mark.parametrize("word", ["0", "-1", "many"])
def test_numbers_are_above_zero(corpus: Any, cli: Cli, word: str) -> None:
    corpus("a", train=LINES)
    result = cli("ner-data", "sample", "a", "b", "--number", word)
    assert result.code == 2 and "invalid positive int value" in result.err
