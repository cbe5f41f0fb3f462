"""Splits: near-duplicates stay together, every label has its share, and the same seed draws the same."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ner_data import Record, split
from ner_data.near_duplicates import groups
from ner_data.preparing.stratify import divide, weights
from support import Result, one_line_error

TOLERANCE = 0.01  # of a label's mentions, for labels with 100 or more
Splits = dict[str, list[Record]]
Cli = Callable[..., Result]


def lines(count: int) -> list[str]:
    """Different sentences with one name each; every fourth comes in three versions."""
    written = []
    for number in range(count):
        line = "".join(chr(0x4E00 + (number * 97 + at * 31) % 5000) for at in range(12))
        written.append(f"[{line[:2]}|name]{line[2:]}")
        if number % 4 == 0:
            written += [f"[{line[:2]}|name]{line[2:]}。", f"[{line[:2]}|name]{line[2:]}！"]
    return written


@pytest.fixture
def demo(make_demo: Callable[..., None]) -> None:
    make_demo("fetch", "convert")


def shares(splits: Splits) -> dict[str, dict[str, float]]:
    """Of each label, the share of its mentions that each split has; of records without any, under ''."""
    counts = {key: weights(records) for key, records in splits.items()}
    every = sum(counts.values(), Counter[str]())
    return {
        label: {key: counts[key][label] / every[label] for key in counts} for label in every if every[label] >= 100
    }


def test_every_label_has_its_share_and_no_group_is_torn(demo: None, cli: Cli, new: Callable[[str], Splits]) -> None:
    result = cli("ner-data", "split", "demo", "mine", "--pool", "--test", "0.2", "--seed", "3")
    assert result.code == 0, result.err
    splits = new("mine")
    assert result.out.startswith("read 2400, kept 2400, rejected 0\n")
    assert result.out.endswith("next: make data CORPUS=mine\n")
    assert list(splits) == ["train", "dev", "test"]
    assert sum(map(len, splits.values())) == 2400
    found = shares(splits)
    assert len(found) > 8
    for label, have in found.items():
        assert have == pytest.approx({"train": 0.7, "dev": 0.1, "test": 0.2}, abs=TOLERANCE), label
    assert_no_group_is_torn(splits)


def assert_no_group_is_torn(splits: Splits) -> None:
    placed = [(key, record.text) for key, records in splits.items() for record in records]
    where: dict[int, set[str]] = {}
    for (key, _), group in zip(placed, groups(text for _, text in placed).of, strict=True):
        where.setdefault(group, set()).add(key)
    assert all(len(keys) == 1 for keys in where.values())
    assert len(where) < len(placed)  # there are near-duplicates


def test_the_same_seed_draws_the_same_and_another_one_another(corpus: Any, new: Callable[[str], Splits]) -> None:
    corpus("a", train=lines(60))
    for name, seed in (("one", 1), ("again", 1), ("two", 2)):
        split("a", name, seed=seed)
    assert new("one") == new("again") != new("two")


def test_records_keep_their_order_ids_and_sources(corpus: Any, new: Callable[[str], Splits]) -> None:
    corpus("a", train=lines(30))
    split("a", "b")
    for records in new("b").values():
        numbers = [int(record.id.rpartition("-")[2]) for record in records]
        assert numbers == sorted(numbers)
        assert [record.source for record in records] == [f"train.json:{number}" for number in numbers]


def test_folds_hold_out_each_part_once(corpus: Any, cli: Cli, new: Callable[[str], Splits]) -> None:
    corpus("a", train=lines(60))
    result = cli("ner-data", "split", "a", "f", "--folds", "4")
    assert result.code == 0, result.err
    folds = [new(f"f{number}") for number in (1, 2, 3, 4)]
    tests = [{record.id for record in fold["test"]} for fold in folds]
    assert [{record.id for record in fold["dev"]} for fold in folds] == [*tests[1:], tests[0]]
    assert len(set.union(*tests)) == sum(map(len, tests)) == 90
    for fold in folds:
        assert sum(map(len, fold.values())) == 90
        assert_no_group_is_torn(fold)


def test_folds_without_dev(corpus: Any, new: Callable[[str], Splits]) -> None:
    corpus("a", train=lines(20))
    split("a", "f", folds=2, dev=0)
    first, second = new("f1"), new("f2")
    assert list(first) == list(second) == ["train", "test"]
    assert (first["train"], first["test"]) == (second["test"], second["train"])


def test_without_dev_or_test_there_is_no_such_split(corpus: Any, new: Callable[[str], Splits]) -> None:
    corpus("a", train=lines(20))
    split("a", "b", dev=0)
    split("a", "c", test=0, dev=0.25)
    assert list(new("b")) == ["train", "test"]
    assert list(new("c")) == ["train", "dev"]


def test_rare_labels_are_trained_on_and_named(corpus: Any, cli: Cli) -> None:
    corpus("a", train=["[海腾|company]在[林晓|name]那里", *lines(40)])
    result = cli("ner-data", "split", "a", "b")
    assert "note: dev has no mention of company: too rare, or all in one group\n" in result.out
    assert "note: test has no mention of company: too rare, or all in one group\n" in result.out


def test_records_without_gold_are_counted(corpus: Any, cli: Cli) -> None:
    corpus("a", train=lines(20), test=["?没有标注", "?也没有"])
    result = cli("ner-data", "split", "a", "b", "--pool")
    assert result.out.startswith("read 32, kept 30, rejected 2 (no gold 2)\n")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--test", "1"], "--test 1.0 --dev 0.1: shares from 0 to below 1, and something must be left to train on"),
        (["--test", "0.5", "--dev", "0.5"], "something must be left"),
        (["--test", "0", "--dev", "0"], "something must be left"),
        (["--dev", "-0.1"], "shares from 0 to below 1"),
        (["--test", "nan"], "shares from 0 to below 1"),
        (["--folds", "2"], "--folds 2: train, dev and test need at least 3"),
        (["--folds", "1", "--dev", "0"], "--folds 1: train and test (--dev 0) need at least 2"),
        (["--folds", "5", "--test", "0.2"], "each of the 5 folds has its part as test; leave --test out"),
        (["--similar", "0"], "--similar 0.0: must be above 0 and at most 1"),
        (["--folds", "40"], "its 15 records are 9 groups of near-duplicates, and 31 of 40 parts would have none"),
    ],
)
def test_what_cannot_be_asked_for(corpus: Any, cli: Cli, words: list[str], message: str) -> None:
    corpus("a", train=lines(10)[:15])
    error = one_line_error(cli("ner-data", "split", "a", "b", *words))
    assert message in error
    assert not list(Path("data").glob("raw/b*")) and not list(Path("data/corpora").glob("b*"))


def test_what_cannot_be_split(corpus: Any, cli: Cli) -> None:
    corpus("a", train=lines(10), test=lines(2))
    corpus("blind", train=["?没有标注"])
    corpus("one", train=["[林晓|name]来了", "[林晓|name]来了。", "[林晓|name]来了！"])
    for corpus_name, new_name, message in (
        ("a", "b", "a: has the splits train, test; divide all of them again with --pool"),
        ("blind", "b", "blind: no record has gold; there is nothing to divide by label"),
        ("one", "b", "its 3 records are 1 groups of near-duplicates"),
        ("none", "b", "none: no such corpus"),
        ("one", "a", "data/corpora/a.yaml: already exists"),
        ("one", "../b", "../b: no name for a corpus"),
    ):
        assert message in one_line_error(cli("ner-data", "split", corpus_name, new_name, "--similar", "0.5"))


def test_of_folds_all_are_written_or_none(corpus: Any, cli: Cli) -> None:
    corpus("a", train=lines(30))
    corpus("f3", train=lines(1))
    assert "data/corpora/f3.yaml: already exists" in one_line_error(cli("ner-data", "split", "a", "f", "--folds", "3"))
    assert not list(Path("data").glob("raw/f?/*")) and not list(Path("data/corpora").glob("f[12]*"))


@settings(max_examples=100, deadline=None)
@given(
    groups=st.lists(
        st.lists(st.frozensets(st.sampled_from("abcd"), max_size=3), min_size=1, max_size=3), min_size=1, max_size=40
    ),
    parts=st.integers(2, 5),
    seed=st.integers(0, 9),
)
def test_no_part_gets_much_more_of_a_label_than_its_share(
    groups: list[list[frozenset[str]]], parts: int, seed: int
) -> None:
    counted = [
        weights(
            Record("", "甲" * 3, tuple(_mention(at, label) for at, label in enumerate(sorted(labels))))
            for labels in group
        )
        for group in groups
    ]
    placed = divide(counted, [1 / parts] * parts, seed)
    assert all(0 <= part < parts for part in placed)
    # The rarest label is placed first, so nothing else disturbs it: it is as even as its largest group allows.
    number = Counter(label for counts in counted for label in counts if label != "\n")
    rarest = min(number, key=lambda label: (number[label], label))
    have = Counter(dict.fromkeys(range(parts), 0))
    for counts, part in zip(counted, placed, strict=True):
        have[part] += counts[rarest]
    largest = max(counts[rarest] for counts in counted)
    assert max(have.values()) <= sum(have.values()) / parts + largest


def _mention(at: int, label: str) -> Any:
    from ner_data.gold import Entity

    return Entity(at, at + 1, label, "甲")
