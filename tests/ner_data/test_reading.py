"""How raw files are read whatever their format: encodings, long texts, nested mentions, many processes, ids."""

import json
import random
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ner_common.errors import UserError
from ner_data import alpaca, convert, read_gold
from ner_data.gold import Entity
from ner_data.nesting import flatten, overlap
from ner_data.sentences import cut
from ner_data.source import LONGEST, Source
from support import Result, one_line_error

Cli = Callable[..., Result]
Raw = Callable[..., Path]


@pytest.mark.parametrize("encoding", ["gb18030", "utf-16", "big5", "utf-8-sig"])
@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_lines_are_the_same_in_every_encoding(tmp_path: Path, encoding: str, newline: str) -> None:
    lines = ["林曉", "", "\u3000頭", "x y"]
    path = tmp_path / "a.txt"
    path.write_bytes(newline.join(lines).encode(encoding))
    source = Source(path, encoding.removesuffix("-sig"))
    assert list(source.lines()) == list(enumerate(lines, start=1))


@pytest.mark.parametrize(
    ("data", "encoding", "problem"),
    [
        ("甲\n".encode("utf-16"), "utf-8", "a.txt: is UTF-16; use `--encoding utf-16`"),
        ("ok\n甲乙丙丁\n".encode("gbk"), "utf-8", "a.txt:2: not UTF-8 at byte 0 of the line; it looks like GBK: use"),
        (b"ok\n" + b"\xff\xff\xff\n", "utf-8", "a.txt:2: not UTF-8 at byte 0 of the line; convert the file"),
        ("甲乙丙\n".encode(), "big5", "a.txt:1: not BIG5 at byte"),
        (b"\xff\xfe\x00\xd8\x00", "utf-16", "a.txt:1: not UTF-16"),
        ("甲\n".encode("utf-16-le"), "utf-8", "a.txt:2: has a NUL"),
        ("ab\n".encode("utf-16-le"), "utf-8", "a.txt:1: has a NUL"),
        (b"a\rb\rc\r", "utf-8", "a.txt:1: a carriage return inside the line; convert the file's line ends to LF"),
        (b" \n\t\n", "utf-8", "a.txt: the file is empty"),
        (b"PK\x03\x04xl/workbook", "utf-16", "a.txt: is a ZIP archive or an Excel workbook; unpack it, or save"),
        (b"%PDF-1.7\n", "gb18030", "a.txt: is a PDF document; export its text"),
        (b"\x1f\x8b\x08\x00", "utf-8", "a.txt: is compressed with gzip; unpack it"),
        (b"PAR1\x15\x04", "utf-8", "a.txt: is a Parquet file; name the format hf_datasets, which reads it"),
        (b"x" * (LONGEST + 1), "utf-8", "a.txt:1: a line of more than 33,554,432 bytes"),
        (("x" * (LONGEST + 1)).encode("utf-16"), "utf-16", "a.txt:1: a line of more than 33,554,432 characters"),
    ],
)
def test_what_is_no_text_is_one_error(tmp_path: Path, data: bytes, encoding: str, problem: str) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(data)
    with pytest.raises(UserError, match=r"a\.txt") as caught:
        list(Source(path, encoding).lines())
    assert problem in str(caught.value) and "\n" not in str(caught.value)


def test_a_file_or_folder_of_the_wrong_kind_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is a folder, not a file"):
        list(Source(tmp_path).lines())
    with pytest.raises(UserError, match="no such file; name the folder"):
        list(Source(tmp_path / "x").lines())


def test_items_are_those_of_an_array_or_of_lines(tmp_path: Path) -> None:
    path = tmp_path / "a.json"

    def items(text: str) -> list[tuple[int, object]]:
        path.write_text(text, "utf-8")
        return [(line, json.loads(item)) for line, item in Source(path).items()]

    assert items('{"a": 1}\n\n{"a": 2}') == [(1, {"a": 1}), (3, {"a": 2})]
    assert items('[{"a": 1}, {"a": 2}]') == [(1, {"a": 1}), (1, {"a": 2})]
    assert items('[\n  {"a": 1},\n  {"a":\n 2},\n  {"a": 1}\n]\n') == [(2, {"a": 1}), (3, {"a": 2}), (5, {"a": 1})]
    assert items('["甲", [0, 1]]\n["乙", [0, 1]]\n') == [(1, ["甲", [0, 1]]), (2, ["乙", [0, 1]])]
    problem = r"a.json:3: not a JSON array \(invalid character\); correct it there, or write JSON lines"
    with pytest.raises(UserError, match=problem):
        items('[\n{"a": 1},\n{"a": x},\n{"a": 2}]\n')


texts = st.text(alphabet="甲乙。！\n；.a \u3000”", min_size=1, max_size=60)


@st.composite
def spans(draw: st.DrawFn) -> tuple[str, list[Entity]]:
    text = draw(texts)
    pairs = st.tuples(st.integers(0, len(text) - 1), st.integers(1, len(text)), st.sampled_from("xy"))
    found = {(start, end, label) for start, end, label in draw(st.lists(pairs, max_size=5)) if start < end}
    return text, [Entity(start, end, label, text[start:end]) for start, end, label in sorted(found)]


@given(spans(), st.integers(1, 30))
def test_cut_texts_are_the_text_and_no_mention_is_lost(example: tuple[str, list[Entity]], most: int) -> None:
    text, entities = example
    parts = list(cut(text, entities, most))
    assert "".join(part for _, part, _ in parts) == text
    back = [Entity(e.start + at, e.end + at, e.label, e.text) for at, _, found in parts for e in found or ()]
    assert sorted(back) == sorted(entities)
    for at, part, found in parts:
        assert text[at : at + len(part)] == part
        assert all(part[e.start : e.end] == e.text for e in found or ())
    assert [part for _, part, _ in cut(text, None, most)] and all(found is None for *_, found in cut(text, None, most))


def test_texts_are_cut_after_whole_sentences_only() -> None:
    text = "他说：“好。”然后走了！真的？\n第二段；完。"
    assert [part for _, part, _ in cut(text, [], 9)] == ["他说：“好。”", "然后走了！真的？\n", "第二段；完。"]
    assert [part for _, part, _ in cut(text, [], 100)] == [text]
    held = [Entity(0, 9, "x", text[0:9])]
    assert [part for _, part, _ in cut(text, held, 9)] == ["他说：“好。”然后走了！", "真的？\n第二段；", "完。"]
    assert [part for _, part, _ in cut("v1.5好。U.S. 好", [], 3)] == ["v1.5好。", "U.S.", " 好"]


def test_a_long_document_becomes_sentences_that_can_be_traced(raw: Raw, cli: Cli) -> None:
    text = "甲乙来了。丙走了。" * 4
    line = json.dumps({"text": text, "label": {"name": {"丙": [[14, 14]]}}}, ensure_ascii=False)
    folder = raw(train=line.encode())
    result = cli("ner-data", "convert", "demo", "--raw", folder, "--split-sentences", "10")
    assert result.code == 0, result.err
    assert "train.jsonl: read 1, kept 4, rejected 0; texts cut at sentence ends: 1\n" in result.out
    records = list(read_gold(Path("data/gold/demo/train.jsonl")))
    assert [(r.id, r.source) for r in records][:2] == [
        ("demo-train-1.1", "train.json:1:0"),
        ("demo-train-1.2", "train.json:1:9"),
    ]
    assert [record.text for record in records] == ["甲乙来了。丙走了。"] * 4
    assert [record.entities for record in records] == [(), (Entity(5, 6, "name", "丙"),), (), ()]


@given(spans())
def test_flattened_mentions_share_no_character(example: tuple[str, list[Entity]]) -> None:
    _, entities = example
    assert flatten(entities, "keep") == tuple(entities)
    for policy in ("outermost", "innermost"):
        kept = flatten(entities, policy)
        assert not overlap(kept) and set(kept) <= set(entities)
        for lost in set(entities) - set(kept):  # there was a reason
            others = [other for other in kept if other.start < lost.end and lost.start < other.end]
            sizes = [other.end - other.start for other in others]
            own = lost.end - lost.start
            assert any(size >= own if policy == "outermost" else size <= own for size in sizes)


def test_convert_leaves_out_nested_mentions_by_policy_and_counts_them(raw: Raw, cli: Cli) -> None:
    line = '{"text": "北京大学", "label": {"address": {"北京": [[0, 1]]}, "company": {"北京大学": [[0, 3]]}}}\n'
    folder = raw(train=line.encode())
    result = cli("ner-data", "convert", "demo", "--raw", folder, "--nested", "innermost")
    assert "rejected 0; mentions left out (innermost of nested ones are kept): 1\n" in result.out
    (record,) = read_gold(Path("data/gold/demo/train.jsonl"))
    assert [entity.text for entity in record.gold] == ["北京"]


def large(chance: random.Random, repeated: bool = False) -> bytes:
    lines = []
    for number in range(5_000):
        text = "".join(chance.choices("甲乙丙丁戊己庚辛", k=8))
        identity = 17 if repeated and number == 4_900 else number
        places = [[at, at] for at, char in enumerate(text) if char == "甲"]
        label = {"name": {"甲": places}} if places and number % 7 else {}
        label |= {"river": {"": []}} if number % 500 == 3 else {}
        lines.append(json.dumps({"id": identity, "text": text, "label": label}, ensure_ascii=False))
    return "\n".join(lines).encode()


def test_any_number_of_workers_gives_the_same_files(workplace: Path, raw: Raw) -> None:
    folder = raw(train=large(random.Random(1)))
    outputs = []
    for workers in (1, 2, 3):
        results = convert("demo", raw=folder, skip_bad=True, workers=workers)
        alpaca("demo", workers=workers)
        files = [Path("data/gold/demo/train.jsonl"), Path("data/alpaca/demo_train.json")]
        outputs.append([path.read_bytes() for path in files] + [results["train"]])
    assert outputs[0] == outputs[1] == outputs[2]
    assert results["train"].read == 5_000 and results["train"].rejected.total() == 0


def test_an_id_that_is_used_twice_is_found_by_any_number_of_workers(workplace: Path, cli: Cli, raw: Raw) -> None:
    folder = raw(train=large(random.Random(2), repeated=True))
    for workers in (1, 2):
        with pytest.raises(UserError, match=r"train\.json:4901: record 4901: the id 17 is already used in line 18"):
            convert("demo", raw=folder, workers=workers)
    assert one_line_error(cli("ner-data", "convert", "demo", "--raw", folder))
