"""Nested spans as in CMeEE: exact readings, what is refused and why, and what is written."""

import json
from pathlib import Path

import pytest

from ner_common.errors import UserError
from ner_data.formats import cmeee
from ner_data.gold import Entity
from raw_files import read
from record_files import reasons, written

GOOD = """[
  {
    "text": "肺部病变较轻",
    "entities": [
      {"start_idx": 0, "end_idx": 1, "type": "bod", "entity": "肺部"},
      {"start_idx": 0, "end_idx": 3, "type": "sym", "entity": "肺部病变"}
    ]
  },
  {"text": "无异常", "entities": []}
]
""".encode()


def span(
    start: object, end: object, label: object = "bod", surface: object = "肺部", **more: object
) -> dict[str, object]:
    return {"start_idx": start, "end_idx": end, "type": label, "entity": surface, **more}


def record(*spans: object, **more: object) -> bytes:
    return json.dumps({"text": "肺部病变较轻", "entities": spans, **more}, ensure_ascii=False).encode() + b"\n"


MALFORMED: list[tuple[str, bytes]] = [
    ("the end is exclusive", record(span(0, 2))),
    ("the end is behind the text", record(span(4, 6, surface="较轻"))),
    ("a negative start", record(span(-2, -1, surface="较轻"))),
    ("reversed offsets", record(span(1, 0))),
    ("offsets are strings", record(span("0", "1"))),
    ("an offset is a float", record(span(0.0, 1))),
    ("an offset is a boolean", record(span(False, 1))),
    ("the surface is elsewhere", record(span(1, 2))),
    ("no surface", record({"start_idx": 0, "end_idx": 1, "type": "bod"})),
    ("the label is empty", record(span(0, 1, ""))),
    ("the label is a number", record(span(0, 1, 3))),
    ("entities are an object", json.dumps({"text": "肺部", "entities": {"bod": "肺部"}}).encode()),
    ("no entities", '{"text": "肺部"}'.encode()),
    ("no text", b'{"entities": []}'),
    ("an empty text", b'{"text": " ", "entities": []}'),
    ("a record is a string", b'["\xe8\x82\xba\xe9\x83\xa8"]'),
    ("cut off", GOOD[:60]),
    ("a lone surrogate", b'{"text": "\\ud800", "entities": []}'),
    ("a key twice", '{"text": "肺部", "text": "肺", "entities": []}'.encode()),
    ("not UTF-8", record(span(0, 1)).decode().encode("gb18030")),
]


def test_an_array_is_read_with_lines_and_inclusive_ends(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_bytes(GOOD)
    first, second = read(cmeee, tmp_path / "a.json", gold=True)
    assert (first.line, first.text) == (2, "肺部病变较轻")
    assert first.entities == (Entity(0, 2, "bod", "肺部"), Entity(0, 4, "sym", "肺部病变"))
    assert (second.line, second.text, second.entities, second.problem) == (9, "无异常", (), None)


def test_json_lines_and_unknown_keys_are_read(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_bytes(record(span(0, 1, score=0.5), source="here", id=7) + record())
    first, second = read(cmeee, tmp_path / "a.json", gold=True)
    assert (first.identity, first.entities) == (7, (Entity(0, 2, "bod", "肺部"),))
    assert second.line == 2


def test_exclusive_ends_are_an_option_that_the_message_names(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_bytes(record(span(0, 2)))
    (bad,) = read(cmeee, tmp_path / "a.json", gold=True)
    assert bad.problem == (
        "offsets do not match",
        "bod '肺部' at [0, 2], but the text has '肺部病' there (ends are inclusive); "
        "with the other kind of end it fits: set `options: {end: exclusive}`",
    )
    (good,) = read(cmeee, tmp_path / "a.json", gold=True, end="exclusive")
    assert good.entities == (Entity(0, 2, "bod", "肺部"),)
    with pytest.raises(UserError, match="options: end must be one of inclusive, exclusive, not 'half'"):
        cmeee.Reader(end="half")


def test_without_gold_entities_are_not_looked_at(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_bytes(record(span("x", 1)))
    (sample,) = read(cmeee, tmp_path / "a.json", gold=False)
    assert (sample.text, sample.entities, sample.problem) == ("肺部病变较轻", None, None)


@pytest.mark.parametrize("end", ["inclusive", "exclusive"])
def test_what_is_written_is_read_back(tmp_path: Path, end: str) -> None:
    (tmp_path / "a.json").write_bytes(GOOD)
    samples = read(cmeee, tmp_path / "a.json", gold=True)
    path = written(cmeee, samples, tmp_path / "out", end=end)
    assert path.name == "out.json"
    assert json.loads(path.read_bytes())[0]["entities"][0] == span(0, 1 if end == "inclusive" else 2)
    again = read(cmeee, path, gold=True, end=end)
    assert [(s.text, s.entities) for s in again] == [(s.text, s.entities) for s in samples]


def test_malformed_records_have_a_reason(tmp_path: Path) -> None:
    assert reasons(cmeee, MALFORMED, tmp_path / "a.json") == {
        "the end is exclusive": "offsets do not match",
        "the end is behind the text": "offsets out of range",
        "a negative start": "offsets out of range",
        "reversed offsets": "reversed offsets",
        "offsets are strings": "malformed offsets",
        "an offset is a float": "malformed offsets",
        "an offset is a boolean": "malformed offsets",
        "the surface is elsewhere": "offsets do not match",
        "no surface": "malformed entities",
        "the label is empty": "malformed label",
        "the label is a number": "malformed label",
        "entities are an object": "malformed entities",
        "no entities": "no gold",
        "no text": "no text",
        "an empty text": "no text",
        "a record is a string": "malformed record",
        "cut off": "a.json:5: not a JSON array (Input data was truncated); correct it there, or write JSON lines",
        "a lone surrogate": "lone surrogate",
        "a key twice": "duplicate key",
        "not UTF-8": "a.json:1: not UTF-8 at byte 10 of the line; it looks like GBK: use `--encoding gb18030`, or "
        "`iconv -f GB18030 -t UTF-8`",
    }


def test_the_labels_of_a_record_that_cannot_be_used_are_named(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_bytes(record(span(0, 2), span(0, 3, "sym", "肺部病变")))
    (sample,) = read(cmeee, tmp_path / "a.json", gold=True)
    assert sample.labels == {"bod", "sym"}
