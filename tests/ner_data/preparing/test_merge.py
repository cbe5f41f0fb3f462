"""Merged corpora: labels renamed and dropped, nothing trained on that is scored, and every change counted."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ner_data import Record, load_corpus, merge, write_gold
from ner_data.described import Label
from ner_data.gold import Entity
from small_corpora import marked, record
from support import Result, one_line_error

Cli = Callable[..., Result]
New = Callable[[str], dict[str, list[Record]]]


def test_labels_are_renamed_and_dropped(corpus: Any, cli: Cli, new: New) -> None:
    corpus("a", train=["[林晓|name]在[云帆|company]", "无人"])
    corpus(
        "b",
        (Label("PER", "PER", "a person"), Label("LOC", "地点", "a place"), Label("DAY", "DAY")),
        train=["[安娜|PER]到[上海|LOC]", "[周一|DAY]"], dev=["[安娜|PER]"],
    )  # fmt: skip
    result = cli("ner-data", "merge", "c", "a", "b", "--map", "b:PER=name", "--map", "b:DAY=", "--map", "b:LOC=地址")
    assert result.code == 0, result.err
    assert result.out == (
        "read 5, kept 5, rejected 0\n"
        "data/raw/c/train.jsonl: 4 records\ndata/raw/c/dev.jsonl: 1 records\n"
        "note: b: PER renamed to name: 2 mentions\nnote: b: LOC renamed to 地址: 1 mentions\n"
        "note: b: DAY dropped: 1 mentions\nnext: make data CORPUS=c\n"
    )
    splits = new("c")
    assert marked(splits["train"]) == ["[林晓|name]在[云帆|company]", "无人", "[安娜|name]到[上海|地址]", "周一"]
    assert [record.source for record in splits["train"]][::2] == ["a/train.json:1", "b/train.json:1"]
    described = load_corpus("c")
    assert described.labels == (
        Label("name", "姓名", "人的名字"),
        Label("company", "公司"),
        Label("地址", "地点", "a place"),
    )
    assert (described.licence, described.source) == ("licence of a; licence of b", "source of a; source of b")


def test_a_label_that_was_called_so_names_the_merged_one(corpus: Any) -> None:
    corpus("a", (Label("gov", "政府", "an office"), Label("org", "组织")), train=["[甲|gov][乙|org]"])
    merge("c", ["a"], maps={"a": {"gov": "org"}})
    assert load_corpus("c").labels == (Label("org", "组织", "an office"),)


def test_a_text_that_an_earlier_corpus_has_is_left_out(corpus: Any, cli: Cli, new: New) -> None:
    corpus("a", train=["[林晓|name]来了", "同文", "同文"], test=["[林晓|name]走了"])
    corpus("b", train=["[林晓|name]走了", "林晓来了", "新文"], test=["同文"])
    result = cli("ner-data", "merge", "c", "a", "b")
    assert result.out == (
        "read 8, kept 5, rejected 3 (text of an earlier corpus 2; text of an earlier corpus, with other mentions 1)\n"
        "data/raw/c/train.jsonl: 4 records\ndata/raw/c/test.jsonl: 1 records\n"
        "note: b-train-2 is the text of a-train-1, with other mentions\nnext: make data CORPUS=c\n"
    )
    assert marked(new("c")["train"]) == ["[林晓|name]来了", "同文", "同文", "新文"]


def test_what_was_annotated_since_takes_the_place_of_the_text_without_gold(corpus: Any, cli: Cli, new: New) -> None:
    corpus("a", train=["[林晓|name]来了"], test=["?甲", "?乙"])
    corpus("b", train=["[甲|name]", "[林晓|name]来了"])
    result = cli("ner-data", "merge", "c", "a", "b")
    assert result.out.startswith(
        "read 5, kept 3, rejected 2 (text of an earlier corpus 1; text without gold, which a later corpus has with gold 1)\n"
    ), result
    assert marked(new("c")["train"]) == ["[林晓|name]来了", "[甲|name]"]
    assert [record.text for record in new("c")["test"]] == ["乙"]


def test_ids_become_unique(corpus: Any, new: New) -> None:
    for name, line in (("a", "甲文"), ("b", "乙文"), ("c", "丙文")):
        write_gold(corpus(name, train=["占位"]).gold_file("train"), [record("1", f"[{line}|name]")])
    merge("d", ["a", "b", "c"])
    assert [record.id for record in new("d")["train"]] == ["1", "1-2", "1-3"]


def test_records_without_gold_are_left_out_where_others_have_it(corpus: Any, cli: Cli, new: New) -> None:
    corpus("a", train=["[林晓|name]来了"], test=["?甲"])
    corpus("b", train=["乙"], test=["[丙|name]"])
    result = cli("ner-data", "merge", "c", "a", "b")
    assert "rejected 1 (no gold in test, where others have it 1)" in result.out
    assert [record.text for record in new("c")["test"]] == ["丙"]


def test_splits_without_gold_stay_without(corpus: Any, new: New) -> None:
    corpus("a", train=["[林晓|name]来了"], test=["?甲"])
    corpus("b", train=["乙"], test=["?丙"])
    merge("c", ["a", "b"])
    assert [record.entities for record in new("c")["test"]] == [None, None]
    assert not load_corpus("c").splits["test"].gold


def test_two_labels_that_become_one_at_the_same_place(corpus: Any, cli: Cli, new: New) -> None:
    both = (Entity(0, 2, "company", "海腾"), Entity(0, 2, "name", "海腾"))
    write_gold(corpus("a", train=["占位"]).gold_file("train"), [Record("1", "海腾来了", both)])
    result = cli("ner-data", "merge", "b", "a", "--map", "a:company=name")
    assert "note: a: name twice at the same place, kept once: 1 mentions\n" in result.out
    assert marked(new("b")["train"]) == ["[海腾|name]来了"]


def test_a_file_of_maps(corpus: Any, cli: Cli, new: New) -> None:
    corpus("a", train=["[林晓|name]在[云帆|company]"])
    Path("maps.yaml").write_text('a: {name: 姓名, company: ""}\n', encoding="utf-8")
    assert cli("ner-data", "merge", "b", "a", "--map", "maps.yaml").code == 0
    assert marked(new("b")["train"]) == ["[林晓|姓名]在云帆"]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("name=x", "--map name=x: write CORPUS:OLD=NEW, or name a YAML file"),
        ("a:=x", "--map a:=x: write CORPUS:OLD=NEW"),
        (":name=x", "--map :name=x: write CORPUS:OLD=NEW"),
        ("z:name=x", "--map z: not one of the merged corpora, a"),
        ("a:nam=x", "--map a:nam=x: a has the labels company, name"),
        ("a:name=<|im_end|>", "looks like a control token of a model"),
        ("a:name= x", "must be one line of text, without control characters or white space around it"),
        ("none.yaml", "none.yaml: no such file; write CORPUS:OLD=NEW, or name a YAML file"),
        ("list.yaml", "list.yaml: expected object, got array; write CORPUS: {OLD: NEW} per corpus, and quote labels"),
        ("number.yaml", "number.yaml: [...][...]: expected str, got int; write CORPUS: {OLD: NEW}"),
        ("all.yaml", "--map drops every label; leave one"),
    ],
)
def test_what_is_no_map(corpus: Any, cli: Cli, given: str, message: str) -> None:
    corpus("a", train=["[林晓|name]来了"])
    for name, text in (
        ("list", "[a, b]"),
        ("number", "a: {name: 1}"),
        ("all", 'a: {name: "", company: ""}'),
    ):
        Path(f"{name}.yaml").write_text(text, encoding="utf-8")
    assert message in one_line_error(cli("ner-data", "merge", "b", "a", "--map", given))
    assert not Path("data/raw").exists()


def test_maps_that_contradict_each_other(corpus: Any, cli: Cli) -> None:
    corpus("a", train=["[林晓|name]来了"])
    words = ["--map", "a:name=x", "--map", "a:name=y"]
    assert "--map a:name=y: an earlier one says a:name=x" in one_line_error(cli("ner-data", "merge", "b", "a", *words))


def test_a_split_without_a_mention_is_not_written(corpus: Any, cli: Cli) -> None:
    corpus("a", train=["[林晓|name]在[云帆|company]"], test=["[林晓|name]来了"])
    message = one_line_error(cli("ner-data", "merge", "b", "a", "--map", "a:name="))
    assert "b: its test split would have no mention; ask for more or other records" in message
    assert not Path("data/raw/b/train.jsonl").exists() and not Path("data/corpora/b.yaml").exists()


def test_a_corpus_that_was_not_converted(corpus: Any, cli: Cli) -> None:
    corpus("a", train=["[林晓|name]来了"])
    message = one_line_error(cli("ner-data", "merge", "b", "a", "demo"))
    assert "data/gold/demo/train.jsonl: no such file; run `make data CORPUS=demo`" in message
