"""doccano's JSON lines in all shapes that it has had, emoji, what is refused and why, and what is written."""

import json
from pathlib import Path

import pytest

from ner_common.errors import UserError
from ner_data.formats import doccano
from ner_data.gold import Entity, Record
from raw_files import read
from record_files import reasons, written

TEXT = "林晓在云帆科技任经理"
GOOD = """{"id": 1, "text": "林晓在云帆科技任经理", "label": [[0, 2, "name"], [3, 7, "company"]], "Comments": []}
{"id": 2, "text": "没有人", "label": []}
""".encode()
NAME = {"id": 5, "label": "name", "start_offset": 0, "end_offset": 2}


def record(**fields: object) -> bytes:
    return json.dumps({"text": TEXT, **fields}, ensure_ascii=False).encode() + b"\n"


MALFORMED: list[tuple[str, bytes]] = [
    ("the end is behind the text", record(label=[[8, 11, "name"]])),
    ("a negative start", record(label=[[-2, 1, "name"]])),
    ("reversed offsets", record(label=[[2, 0, "name"]])),
    ("an empty mention", record(label=[[2, 2, "name"]])),
    ("offsets are strings", record(label=[["0", "2", "name"]])),
    ("an offset is a float", record(label=[[0, 2.0, "name"]])),
    ("an offset is a boolean", record(label=[[False, 2, "name"]])),
    ("the label is empty", record(label=[[0, 2, ""]])),
    ("the label is a number", record(entities=[{**NAME, "label": 7}])),
    ("an entity without an end", record(entities=[{"label": "name", "start_offset": 0}])),
    ("labels of a text as a whole", record(label=["positive"])),
    ("label and labels", record(label=[], labels=[])),
    ("a raw export with numbers for labels", record(annotations=[{**NAME, "label": 7, "user": 1}])),
    ("no labels", record(meta={})),
    ("labels are null", record(label=None)),
    ("no text", b'{"label": []}'),
    ("the text is empty", record(text="\n", label=[])),
    ("the id is a list", record(id=[1], label=[])),
    ("an offset inside an emoji", record(text="😀甲", label=[[1, 3, "name"]])),
    ("a lone surrogate", b'{"text": "a\\ud83d", "label": []}'),
    ("not JSON", b"text,label\n"),
]


@pytest.mark.parametrize(
    "fields",
    [
        {"label": [[0, 2, "name"]]},
        {"labels": [[0, 2, "name"]]},
        {"entities": [[0, 2, "name"]], "username": "admin"},
        {"entities": [NAME], "relations": []},
        {"text": None, "data": TEXT, "label": [[0, 2, "name"]]},
        {"text": None, "data": TEXT, "label": {"entities": [NAME], "relations": []}},
    ],
)
def test_all_exports_are_read(tmp_path: Path, fields: dict[str, object]) -> None:
    value = {key: part for key, part in {"text": TEXT, **fields}.items() if part is not None}
    (tmp_path / "a.jsonl").write_text(json.dumps(value), encoding="utf-8")
    (sample,) = read(doccano, tmp_path / "a.jsonl", gold=True)
    assert (sample.text, sample.entities, sample.repairs) == (TEXT, (Entity(0, 2, "name", "林晓"),), ())


def test_relations_are_skipped_and_counted(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(
        record(entities=[NAME], relations=[{"from_id": 5, "to_id": 5, "type": "is"}] * 2)
    )
    (sample,) = read(doccano, tmp_path / "a.jsonl", gold=True)
    assert sample.repairs == (doccano.RELATIONS,) * 2


def test_offsets_count_an_emoji_as_two_as_doccano_does(tmp_path: Path) -> None:
    text = "👨🏻\u200d🚒 firemen drive firetrucks"  # as it was reported to doccano, with its offsets
    (tmp_path / "a.jsonl").write_bytes(record(text=text, label=[[22, 32, "x"], [0, 2, "y"]]))
    (sample,) = read(doccano, tmp_path / "a.jsonl", gold=True)
    assert sample.entities == (Entity(0, 1, "y", "👨"), Entity(19, 29, "x", "firetrucks"))
    assert sample.repairs == (doccano.UNITS,) * 2
    (tmp_path / "a.jsonl").write_bytes(record(text=text, label=[[19, 29, "x"]]))
    (sample,) = read(doccano, tmp_path / "a.jsonl", gold=True, offsets="characters")
    assert (sample.entities, sample.repairs) == ((Entity(19, 29, "x", "firetrucks"),), ())
    with pytest.raises(UserError, match="options: offsets must be one of utf16, characters"):
        doccano.Reader(offsets="bytes")


def test_many_mentions_in_a_long_text_with_an_emoji_take_no_long_time(tmp_path: Path) -> None:
    spans = [[at, at + 1, "x"] for at in range(2, 100_000, 20)]
    (tmp_path / "a.jsonl").write_bytes(record(text="😀" + "甲" * 100_000, label=spans))
    (sample,) = read(doccano, tmp_path / "a.jsonl", gold=True)
    assert sample.entities and sample.entities[0].start == 1 and len(sample.entities) == len(sample.repairs) == 5000


def test_without_gold_labels_are_not_looked_at(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(record(id="a", label="?"))
    (sample,) = read(doccano, tmp_path / "a.jsonl", gold=False)
    assert (sample.text, sample.entities, sample.problem, sample.identity) == (TEXT, None, None, "a")


@pytest.mark.parametrize("offsets", ["utf16", "characters"])
def test_what_is_written_is_read_back(tmp_path: Path, offsets: str) -> None:
    entities = (
        Entity(0, 1, "x", "😀"),
        Entity(1, 3, "x", "甲e"),
        Entity(1, 4, "y", "甲e\u0301"),
        Entity(4, 6, "x", "\n😀"),
    )
    records = [Record("a", "😀甲e\u0301\n😀", entities), Record("b", "没有人", ()), Record("c", "?", None)]
    path = written(doccano, records, tmp_path / "out", offsets=offsets)
    lines = [json.loads(line) for line in path.read_bytes().split(b"\n") if line]
    assert lines[0]["label"][3] == ([5, 8, "x"] if offsets == "utf16" else [4, 6, "x"])
    assert lines[2] == {"id": "c", "text": "?"}
    again = read(doccano, path, gold=True, offsets=offsets)
    assert [(s.identity, s.entities) for s in again[:2]] == [("a", entities), ("b", ())]
    assert again[2].problem and again[2].problem[0] == "no gold"


def test_malformed_records_have_a_reason(tmp_path: Path) -> None:
    assert reasons(doccano, MALFORMED, tmp_path / "a.jsonl") == {
        "the end is behind the text": "offsets out of range",
        "a negative start": "offsets out of range",
        "reversed offsets": "reversed offsets",
        "an empty mention": "empty mention",
        "offsets are strings": "malformed offsets",
        "an offset is a float": "malformed offsets",
        "an offset is a boolean": "malformed offsets",
        "the label is empty": "malformed label",
        "the label is a number": "malformed label",
        "an entity without an end": "malformed entities",
        "labels of a text as a whole": "malformed entities",
        "label and labels": "malformed entities",
        "a raw export with numbers for labels": "numbers for labels",
        "no labels": "no gold",
        "labels are null": "no gold",
        "no text": "no text",
        "the text is empty": "no text",
        "the id is a list": "malformed id",
        "an offset inside an emoji": "offsets inside a character",
        "a lone surrogate": "lone surrogate",
        "not JSON": "malformed JSON",
    }


def test_the_message_says_what_is_there_and_what_helps(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(
        record(annotations=[]) + record(label=["positive"]) + record(label=[[2, 0, "x"]])
    )
    problems = [sample.problem for sample in read(doccano, tmp_path / "a.jsonl", gold=True)]
    assert problems == [
        ("numbers for labels", "has annotations, with numbers for labels; export as JSONL with text labels"),
        (
            "malformed entities",
            'each entity must be [start, end, "label"] or {"start_offset": 0, "end_offset": 2, "label": "label"}, '
            "not 'positive'",
        ),
        ("reversed offsets", "x at [2, 0): the start is after the end"),
    ]
