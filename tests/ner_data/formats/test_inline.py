"""`{{type:text}}` inside the sentence."""

import re
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from ner_data.formats import TWICE, inline
from ner_data.gold import Entity, Record
from raw_files import read, written

GOOD = (
    "{{person_name:林晓}}在{{company_name:云帆科技}}任{{position:{{level:高级}}经理}}\n\n"
    "没有 {人}，（记者{{person_name: 施宇}} {{time:4月25日}}{{time:上午10:30}}）\n"
).encode()

MALFORMED = [
    ("a mention that nothing closes", "{{person_name:林晓在云帆科技\n".encode()),
    ("a mention that one brace closes", "{{person_name:林晓}在云帆科技\n".encode()),
    ("braces that close nothing", "林晓}}在云帆科技\n".encode()),
    ("a mark without a type", "{{林晓}}在云帆科技\n".encode()),
    ("an empty type", "{{:林晓}}在云帆科技\n".encode()),
    ("a full-width colon", "{{person_name：林晓}}在云帆科技\n".encode()),
    ("white space around the type", "{{ person_name:林晓}}在云帆科技\n".encode()),
    ("a mention without text", "{{person_name:}}在云帆科技\n".encode()),
    ("a mention of spaces", "{{person_name: }}在云帆科技\n".encode()),
    ("three braces in a row", "{{person_name:{林晓}}}在云帆科技\n".encode()),
    ("two braces as text", "在模板里写 {{ 和 }}\n".encode()),
    ("a mention over two lines", "{{person_name:林\n晓}}在云帆科技\n".encode()),
    ("too many levels", ("{{a:" * 21 + "甲" + "}}" * 21 + "\n").encode()),
    ("a byte-order mark inside the file", "甲\n{{a:\ufeff乙}}\n".encode()),
    ("GBK", "{{person_name:林晓}}\n".encode("gbk")),
    ("a NUL", "{{a:甲\0}}\n".encode()),
]


def test_marks_become_mentions_nested_ones_too(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(GOOD)
    first, second = read(inline, tmp_path / "a.txt", gold=True)
    assert (first.line, first.text, first.repairs) == (1, "林晓在云帆科技任高级经理", ())
    assert first.entities == (
        Entity(0, 2, "person_name", "林晓"),
        Entity(3, 7, "company_name", "云帆科技"),
        Entity(8, 10, "level", "高级"),
        Entity(8, 12, "position", "高级经理"),
    )
    assert (second.line, second.text) == (3, "没有 {人}，（记者 施宇 4月25日上午10:30）")
    assert [(e.label, e.text) for e in second.entities or ()] == [
        ("person_name", "施宇"), ("time", "4月25日"), ("time", "上午10:30"),
    ]  # fmt: skip
    assert second.repairs == (inline.SPACE,)
    assert [s.entities for s in read(inline, tmp_path / "a.txt", gold=False)] == [None, None]


@pytest.mark.parametrize(
    ("line", "reason", "part"),
    [
        ("{{a:甲", "unclosed mention", "has a mention of 'a' that nothing closes: '{{a:甲'"),
        ("{{a:甲{{b:乙}}", "unclosed mention", "has a mention of 'a' that nothing closes"),
        ("甲}}", "braces", "has }} that closes no mention: '甲}}'; two braces cannot be text"),
        ("{{a:甲}}}}", "braces", "has }} that closes no mention"),
        ("{{a:甲}}}", "braces", "has 3 braces in a row, of which one may be text: '{{a:甲}}}'"),
        ("{{{a:甲}}", "braces", "has 3 braces in a row"),
        ("{{{{a:甲}}}}", "braces", "has 4 braces in a row"),
        ("{{a：甲}}", "no type", "has {{ without `type:` behind it: '{{a：甲}}'"),
        ("{{a b :甲}}", "no type", "without `type:`"),
        ("{{a:}}甲", "no text", "has a mention of 'a' without text"),
        ("{{a: \u3000}}甲", "no text", "has a mention of 'a' without text"),
        ("{{a:{{b:}}}}甲", "no text", "without text"),
        ("{{a:" * 21 + "甲" + "}}" * 21, "too many levels", "has more than 20 mentions around each other"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, line: str, reason: str, part: str) -> None:
    (tmp_path / "a.txt").write_text(line + "\n", "utf-8")
    (sample,) = read(inline, tmp_path / "a.txt", gold=True)
    assert sample.problem and sample.problem[0] == reason
    assert part in sample.problem[1]
    assert sample.labels <= {"a", "b"}


def test_labels_of_a_line_that_cannot_be_used_are_named(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("{{a:甲{{b:乙}}\n", "utf-8")
    (sample,) = read(inline, tmp_path / "a.txt", gold=True)
    assert sample.labels == {"a", "b"}


PIECES = ["{{a:", "{{b:", "}}", "{", "}", "甲", "乙", " ", ":", "x", "\u3000", "e\u0301", "😀"]


@given(st.lists(st.sampled_from(PIECES), max_size=12).map("".join))
def test_any_line_is_read_as_it_is_written_or_refused(line: str) -> None:
    if not line.strip():
        return
    with TemporaryDirectory() as folder:
        (Path(folder) / "a.txt").write_text(line + "\n", "utf-8")
        (sample,) = read(inline, Path(folder) / "a.txt", gold=True)
    if sample.problem:
        return
    assert sample.text == re.sub(r"\{\{[^{}:]+:", "", line).replace("}}", "")
    assert len(sample.entities or ()) + sample.repairs.count(TWICE) == line.count("}}")
    record = Record("a", sample.text, sample.entities)
    if not inline.Reader().refusal(record) and not sample.repairs:
        with TemporaryDirectory() as folder:
            (path,) = written(inline, [record], Path(folder))
            back = path.read_text("utf-8")
            assert sorted(back) == sorted(line + "\n")


@st.composite
def records(draw: st.DrawFn) -> Record:
    text = draw(
        st.text(
            st.one_of(
                st.characters(exclude_categories=["Cs"]), st.sampled_from("{}:甲乙 {}\t葛\U000e0100é\u0301😀\ufe0f")
            ),
            max_size=10,
        )
    )
    places = [(start, end) for start in range(len(text)) for end in range(start + 1, len(text) + 1)]
    spans = (
        draw(st.lists(st.tuples(st.sampled_from(places), st.sampled_from(["a", "b c", "人名", "x."])), max_size=6))
        if places
        else []
    )
    return Record(
        "a", text, tuple(sorted({Entity(start, end, label, text[start:end]) for (start, end), label in spans}))
    )


@given(st.lists(records(), min_size=1, max_size=3))
def test_what_is_written_is_read_back(given_records: list[Record]) -> None:
    kept = [record for record in given_records if not inline.Reader().refusal(record)]
    assume(kept)
    with TemporaryDirectory() as folder:
        (path,) = written(inline, kept, Path(folder))
        samples = read(inline, path, gold=True)
    assert [(sample.text, sample.entities, sample.repairs) for sample in samples] == [
        (r.text, r.entities, ()) for r in kept
    ]


@pytest.mark.parametrize(
    ("text", "spans", "reason"),
    [
        ("甲乙丙", [(0, 2, "a"), (1, 3, "b")], "crossing mentions"),
        ("甲\n乙", [], "control character"),
        ("甲\r", [], "control character"),
        ("甲\0", [], "control character"),
        ("\ufeff甲", [], "control character"),
        (" \u3000", [], "no text"),
        ("甲 乙", [(0, 2, "a")], "space in a mention"),
        ("甲", [(0, 1, "a:b")], "label with a mark"),
        ("甲", [(0, 1, "a}")], "label with a mark"),
        ("甲", [(0, 1, " a")], "label with a mark"),
        ("{{甲}}", [], "no type"),
        ("甲}}", [], "braces"),
        ("{甲}", [(1, 3, "a")], "braces"),
        ("{甲}", [(0, 3, "a")], "braces"),
        ("甲", [(0, 1, "a")] * 21, "too many levels"),
    ],
)
def test_what_it_cannot_hold_is_refused(text: str, spans: list[tuple[int, int, str]], reason: str) -> None:
    entities = tuple(Entity(start, end, label, text[start:end]) for start, end, label in spans)
    refused = inline.Reader().refusal(Record("a", text, entities))
    assert refused and refused[0] == reason


def test_mentions_of_the_same_characters_and_touching_ones_are_kept(tmp_path: Path) -> None:
    record = Record(
        "a",
        "甲乙丙",
        (Entity(0, 2, "a", "甲乙"), Entity(0, 2, "b", "甲乙"), Entity(1, 2, "a", "乙"), Entity(2, 3, "a", "丙")),
    )
    (path,) = written(inline, [record], tmp_path)
    assert path.read_text("utf-8") == "{{a:{{b:甲{{a:乙}}}}}}{{a:丙}}\n"
    (sample,) = read(inline, path, gold=True)
    assert sample.entities == record.entities


def test_long_lines_take_linear_time(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text(
        "{{a:甲}} " * 100_000 + "\n" + "{{" * 200_000 + "\n" + "{{a " * 100_000 + "\n" + "}} " * 100_000, "utf-8"
    )
    samples = read(inline, tmp_path / "a.txt", gold=True)
    assert len(samples[0].entities or ()) == 100_000
    assert [bool(sample.problem) for sample in samples] == [False, True, True, True]
