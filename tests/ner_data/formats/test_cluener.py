"""CLUENER's JSON lines: what its fast path must leave to the slow one. More is in tests/ner_data/test_formats.py."""

from pathlib import Path

import pytest

from ner_data.formats import cluener
from ner_data.gold import Entity
from raw_files import read

GOOD = """{"text": "林晓在云帆科技", "label": {"name": {"林晓": [[0, 1]]}, "company": {"云帆科技": [[3, 6]]}}}
{"text": "没有人", "label": {}}
""".encode()
LINE = '{"text": "甲乙", "label": %s}\n'
MALFORMED: list[tuple[str, bytes]] = [
    ("not JSON", b'{"text": "x"\n'),
    ("no label", '{"text": "甲乙"}\n'.encode()),
    ("no text", b'{"label": {}}\n'),
    ("exclusive ends", (LINE % '{"name": {"甲": [[0, 1]]}}').encode()),
    ("an end behind the text", (LINE % '{"name": {"甲乙": [[0, 2]]}}').encode()),
    ("reversed offsets", (LINE % '{"name": {"甲乙": [[1, 0]]}}').encode()),
    ("offsets without a list", (LINE % '{"name": {"甲": [0, 0]}}').encode()),
    ("a key that is there twice", (LINE % '{"name": {"甲": [[0, 0]]}, "name": {"乙": [[1, 1]]}}').encode()),
    ("half a surrogate pair", b'{"text": "\\ud800", "label": {}}\n'),
    ("an id that is a list", '{"id": [], "text": "甲乙", "label": {}}\n'.encode()),
    ("in GBK", (LINE % "{}").encode("gbk")),
]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ('{"id": "a", "id": "a", "text": "甲", "label": {}}', "duplicate key"),
        ('{"text": "甲", "label": {"x": {"甲": [[0, 0]], "甲": [[0, 0]]}}}', "duplicate key"),
        ('{"text": "甲", "label": {"x": {"甲": [[0, 0]]}, "x": {"甲": [[0, 0]]}}}', "duplicate key"),
        ('{"text": " ", "label": {}}', "no text"),
        ('{"text": "甲", "label": {"x": {"甲": [[-1, -1]]}}}', "offsets out of range"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, line: str, reason: str) -> None:
    (tmp_path / "a.json").write_text(line, "utf-8")
    (sample,) = read(cluener, tmp_path / "a.json", True)
    assert sample.problem and sample.problem[0] == reason


@pytest.mark.parametrize("extra", ["", ', "id": "a"', ', "id": 7', ', "note": "\\"id\\""', ', "note": {"id": [1]}'])
def test_lines_with_and_without_more_keys_read_the_same(tmp_path: Path, extra: str) -> None:
    line = '{"text": "甲\\u4e59 id", "label": {"x": {"乙": [[1, 1]]}}' + extra + "}"
    for text in (line, line.replace("\\u4e59", "乙")):
        (tmp_path / "a.json").write_text(text, "utf-8")
        (sample,) = read(cluener, tmp_path / "a.json", True)
        assert (sample.text, sample.entities, sample.problem) == ("甲乙 id", (Entity(1, 2, "x", "乙"),), None)
