"""Our own gold files as raw files: read exactly, refused by line."""

from pathlib import Path

from ner_data.formats import gold
from ner_data.gold import Entity
from raw_files import read

GOOD = """{"id": "a", "text": "林晓来了", "entities": [{"start": 0, "end": 2, "label": "name", "text": "林晓"}]}
{"id": "b", "text": "没有", "entities": [], "source": "x.json:7"}
""".encode()
RECORD = '{"id": "a", "text": "林晓", "entities": %s}\n'
MALFORMED: list[tuple[str, bytes]] = [
    ("not JSON", b"{\n"),
    ("no entities", '{"id": "a", "text": "林晓"}\n'.encode()),
    ("entities are null", (RECORD % "null").encode()),
    ("the id is a number", (RECORD % "[]").replace('"a"', "1").encode()),
    ("an unknown key", (RECORD % '[], "labels": []').encode()),
    ("an end behind the text", (RECORD % '[{"start": 0, "end": 3, "label": "x", "text": "林晓"}]').encode()),
    ("a surface that differs", (RECORD % '[{"start": 0, "end": 1, "label": "x", "text": "晓"}]').encode()),
    ("a start that is a float", (RECORD % '[{"start": 0.5, "end": 1, "label": "x", "text": "林"}]').encode()),
    ("an array", b"[1, 2]\n"),
    ("in GBK", (RECORD % "[]").encode("gbk")),
]


def test_ids_and_sources_are_kept(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(GOOD)
    first, second = read(gold, path, True)
    assert (first.identity, first.entities, first.source) == ("a", (Entity(0, 2, "name", "林晓"),), "")
    assert (second.identity, second.entities, second.source) == ("b", (), "x.json:7")
    assert [sample.entities for sample in read(gold, path, False)] == [None, None]


def test_what_is_wrong_is_named(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(b"".join(data for _, data in MALFORMED[:7]))
    reasons = [sample.problem and sample.problem[0] for sample in read(gold, path, True)]
    assert reasons == ["malformed JSON", *["malformed record"], "no gold", *["malformed record"] * 4]
