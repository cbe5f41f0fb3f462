"""Lists of a text and its spans: exact readings, what is refused and why, and what is written."""

from pathlib import Path

import pytest

from ner_data.formats import globalpointer
from ner_data.gold import Entity
from raw_files import read
from record_files import reasons, written

GOOD = """["林晓在云帆科技任经理", [0, 1, "name"], [3, 6, "company"], [8, 9, "position"]]
["没有人"]
["林来了", [0, 0, "name"]]
""".encode()
MALFORMED: list[tuple[str, bytes]] = [
    ("the end is exclusive, behind the text", '["甲乙", [0, 2, "x"]]'.encode()),
    ("a negative start", '["甲乙", [-1, 0, "x"]]'.encode()),
    ("reversed offsets", '["甲乙", [1, 0, "x"]]'.encode()),
    ("an offset is a string", '["甲乙", ["0", 0, "x"]]'.encode()),
    ("an offset is a float", '["甲乙", [0, 0.0, "x"]]'.encode()),
    ("an offset is a boolean", '["甲乙", [false, 0, "x"]]'.encode()),
    ("labels are numbers", '["甲乙", [0, 0, 3]]'.encode()),
    ("the label is empty", '["甲乙", [0, 0, " "]]'.encode()),
    ("a span of two", '["甲乙", [0, 0]]'.encode()),
    ("one list of spans", '["甲乙", [[0, 0, "x"]]]'.encode()),
    ("an object", '{"text": "甲乙", "entities": []}'.encode()),
    ("no text", b'[[0, 0, "x"]]\n[[1, 1, "x"]]'),
    ("an empty text", b'["", [0, 0, "x"]]'),
    ("nothing", b"[]\n[]"),
    ("cut off", '["甲乙", [0, 0'.encode()),
    ("a lone surrogate", b'["\\udc00\\ud800"]'),
]
FIRST = (Entity(0, 2, "name", "林晓"), Entity(3, 7, "company", "云帆科技"), Entity(8, 10, "position", "经理"))


@pytest.mark.parametrize("content", [GOOD, b"[" + GOOD.strip().replace(b"\n", b",\n") + b"]"])
def test_lines_and_arrays_are_read_with_inclusive_ends(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.jsonl").write_bytes(content)
    first, second, third = read(globalpointer, tmp_path / "a.jsonl", gold=True)
    assert (first.line, first.text, first.entities) == (1, "林晓在云帆科技任经理", FIRST)
    assert (second.line, second.text, second.entities) == (2, "没有人", ())
    assert third.entities == (Entity(0, 1, "name", "林"),)


@pytest.mark.parametrize(
    "content", [GOOD.split(b"\n")[0], b"\n\n " + GOOD.split(b"\n")[0], b"[" + GOOD.split(b"\n")[0] + b"]"]
)
def test_one_record_is_told_from_an_array_of_records(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.jsonl").write_bytes(content)
    (sample,) = read(globalpointer, tmp_path / "a.jsonl", gold=True)
    assert sample.entities == FIRST


def test_exclusive_ends_are_an_option(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes('["甲乙", [0, 2, "x"], [0, 1, "y"]]'.encode())
    (sample,) = read(globalpointer, tmp_path / "a.jsonl", gold=True, end="exclusive")
    assert sample.entities == (Entity(0, 1, "y", "甲"), Entity(0, 2, "x", "甲乙"))


@pytest.mark.parametrize("end", ["inclusive", "exclusive"])
def test_what_is_written_is_read_back(tmp_path: Path, end: str) -> None:
    (tmp_path / "a.jsonl").write_bytes(GOOD)
    samples = read(globalpointer, tmp_path / "a.jsonl", gold=True)
    path = written(globalpointer, samples, tmp_path / "out", end=end)
    assert (path.name, path.read_bytes() == GOOD.replace(b", ", b",")) == ("out.jsonl", end == "inclusive")
    again = read(globalpointer, path, gold=True, end=end)
    assert [(s.text, s.entities) for s in again] == [(s.text, s.entities) for s in samples]


def test_malformed_records_have_a_reason(tmp_path: Path) -> None:
    assert reasons(globalpointer, MALFORMED, tmp_path / "a.jsonl") == {
        "the end is exclusive, behind the text": "offsets out of range",
        "a negative start": "offsets out of range",
        "reversed offsets": "reversed offsets",
        "an offset is a string": "malformed offsets",
        "an offset is a float": "malformed offsets",
        "an offset is a boolean": "malformed offsets",
        "labels are numbers": "malformed label",
        "the label is empty": "malformed label",
        "a span of two": "malformed entities",
        "one list of spans": "malformed entities",
        "an object": "malformed record",
        "no text": "no text",
        "an empty text": "no text",
        "nothing": "malformed record",
        "cut off": "malformed JSON",
        "a lone surrogate": "lone surrogate",
    }


def test_numbers_as_labels_are_shown(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes('["甲乙", [0, 0, 3]]\n'.encode())
    (sample,) = read(globalpointer, tmp_path / "a.jsonl", gold=True)
    assert sample.problem == ("malformed label", "3 at [0, 0]: the label must be a non-empty string")
