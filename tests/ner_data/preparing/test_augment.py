"""Copies with other mentions: of the same label, from the training split alone, with right offsets."""

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from ner_data import Record, augment, write_gold
from ner_data.gold import Entity
from ner_data.preparing.augment import replaced
from small_corpora import marked
from support import Result, one_line_error

Cli = Callable[..., Result]
New = Callable[[str], dict[str, list[Record]]]


def test_mentions_are_replaced_by_others_of_their_label(corpus: Any, cli: Cli, new: New) -> None:
    train = ["[林晓|name]在[云帆科技|company]任经理", "[安娜·里德|name]到了[海腾|company]"]
    corpus("a", train=train, test=["[王五|name]"])
    result = cli("ner-data", "augment", "a", "b", "--copies", "1")
    assert result.code == 0, result.err
    assert result.out == (
        "read 3, kept 3, rejected 0\nadded 2 (with other mentions 2), left out 0\n"
        "data/raw/b/train.jsonl: 4 records\ndata/raw/b/test.jsonl: 1 records\n"
        "note: what a training holds out of these has copies that it trains on, so `make select` would be too optimistic; "
        "compare with dev\nnext: make data CORPUS=b\n"
    )
    records = new("b")["train"]
    assert marked(records) == [
        *train, "[安娜·里德|name]在[海腾|company]任经理", "[林晓|name]到了[云帆科技|company]",
    ]  # fmt: skip
    assert [(one.id, one.source) for one in records[2:]] == [
        ("a-train-1-copy1", "train.json:1"),
        ("a-train-2-copy1", "train.json:2"),
    ]


def test_a_surface_is_replaced_by_the_same_one_throughout_a_record(corpus: Any, new: New) -> None:
    corpus("a", train=["[甲|name]见到[甲|name]", *(f"[{char}|name]" for char in "乙丙丁戊己庚辛")])
    augment("a", "b", copies=80)
    copies = [record for record in new("b")["train"] if record.id.startswith("a-train-1-copy")]
    assert len(copies) == 7  # all that there can be
    assert all(record.gold[0].text == record.gold[1].text != "甲" for record in copies)


def test_what_is_not_copied_is_counted(corpus: Any, cli: Cli, new: New) -> None:
    described = corpus("a", train=["占位"], test=["[乙|name]来了"])
    nested = (Entity(0, 4, "company", "海腾传媒"), Entity(0, 2, "name", "海腾"))
    records = [
        Record("1", "海腾传媒", nested),
        Record("2", "没有实体", ()),
        Record("3", "甲来了", (Entity(0, 1, "name", "甲"),)),  # the copy with 乙 is the test record
        Record("4", "乙在", (Entity(0, 1, "name", "乙"),)),
        Record("5", "甲在", (Entity(0, 1, "name", "甲"),)),
        Record("6", "没有标注", None),
    ]
    write_gold(described.gold_file("train"), records[:5])
    result = cli("ner-data", "augment", "a", "b", "--copies", "30")
    assert "nested or crossing mentions 30" in result.out and "no mention 30" in result.out
    assert "is a text of another split" in result.out and "is another record's text" in result.out
    texts = [record.text for record in new("b")["train"]]
    assert len(texts) == len(set(texts)) and "乙来了" not in texts
    write_gold(described.gold_file("train"), [records[2], records[5]])
    assert "(no other surface 1; no gold 1)" in cli("ner-data", "augment", "a", "c").out


def test_the_same_seed_draws_the_same(corpus: Any, new: New) -> None:
    corpus("a", train=[f"[{char}|name]来了，[{char}司|company]也来了" for char in "甲乙丙丁戊己"])
    for name, seed in (("one", 1), ("again", 1), ("two", 2)):
        augment("a", name, copies=2, seed=seed)
    assert new("one") == new("again") != new("two")


def test_nothing_to_replace(corpus: Any, cli: Cli) -> None:
    corpus("a", train=["没有实体"])
    corpus("b", test=["[王五|name]"])
    for name in ("a", "b"):
        message = one_line_error(cli("ner-data", "augment", name, "c"))
        assert f"{name}: its training split has no mention to replace" in message
    assert not Path("data/raw").exists()


SURFACES = st.text("甲乙丙丁 \u3000😀", min_size=1, max_size=4)
PARTS = st.lists(st.tuples(st.text("，的在😀", max_size=4), SURFACES, st.sampled_from(["x", "y"])), max_size=5)


@settings(max_examples=200, deadline=None)
@given(
    parts=PARTS,
    tail=st.text("，的在", max_size=4),
    pool=st.lists(SURFACES, min_size=1, max_size=5),
    seed=st.integers(0, 9),
)
def test_a_copy_has_the_same_words_around_mentions_of_the_same_labels(
    parts: list[tuple[str, str, str]], tail: str, pool: list[str], seed: int
) -> None:
    text, entities = "", []
    for between, surface, label in parts:
        start = len(text) + len(between)
        entities.append(Entity(start, start + len(surface), label, surface))
        text += between + surface
    record = Record("1", text + tail, tuple(entities))
    surfaces = {label: sorted({*pool, *(s for _, s, own in parts if own == label)}) for label in "xy"}
    copy = replaced(record, surfaces, random.Random(seed), "2")  # its offsets are checked by Record
    assert [entity.label for entity in copy.gold] == [entity.label for entity in record.gold]
    between = [one.text[a:b] for one in (record, copy) for a, b in _gaps(one)]
    assert between[: len(between) // 2] == between[len(between) // 2 :]
    for old, other in zip(record.gold, copy.gold, strict=True):
        assert other.text in surfaces[old.label]
        assert other.text != old.text or len(surfaces[old.label]) == 1


def _gaps(record: Record) -> list[tuple[int, int]]:
    edges = [0, *(edge for entity in record.gold for edge in (entity.start, entity.end)), len(record.text)]
    return list(zip(edges[::2], edges[1::2], strict=True))
