"""Gold that was edited by hand: read if it is right, refused with file, line, place and remedy if not."""

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from ner_common.errors import UserError
from ner_data.gold import Entity, Record, read_gold, write_gold
from support import ROOT

ENTITY = {"start": 0, "end": 2, "label": "name", "text": "林晓"}
RECORD = {"id": "a", "text": "林晓在", "entities": [ENTITY]}


def gold(folder: Path, *records: Any) -> Path:
    path = folder / "demo/train.jsonl"
    path.parent.mkdir(exist_ok=True)
    path.write_text("".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records), "utf-8")
    return path


@pytest.mark.parametrize(
    ("record", "problem"),
    [
        (RECORD | {"entities": [ENTITY | {"start": 0.0}]}, "entities[0].start: expected int, got float"),
        (RECORD | {"entities": [ENTITY | {"start": "0"}]}, "entities[0].start: expected int, got str"),
        (RECORD | {"entities": [ENTITY | {"start": False}]}, "entities[0].start: expected int, got bool"),
        (RECORD | {"entities": [ENTITY | {"label": 5}]}, "entities[0].label: expected str, got int"),
        (RECORD | {"entities": [ENTITY | {"note": ""}]}, "entities[0]: has the unknown field note"),
        (RECORD | {"entities": [{"start": 0, "end": 2, "label": "name"}]}, "entities[0]: lacks text"),
        (RECORD | {"entities": [[0, 2, "name"]]}, "entities[0]: expected object, got array"),
        (RECORD | {"entities": {}}, "entities: expected array | null, got object"),
        (RECORD | {"entities": [ENTITY | {"end": 4}]}, "entity name [0, 4) does not fit a text of 3 characters"),
        (RECORD | {"entities": [ENTITY | {"end": 0}]}, "entity name [0, 0) does not fit a text of 3 characters"),
        (
            RECORD | {"entities": [ENTITY | {"start": 1}]},
            "entity name [1, 2) says '林晓', but the text has '晓' there",
        ),
        (RECORD | {"entities": [ENTITY | {"end": 2**70}]}, "entity name [0, 1180591620717411303424) does not fit"),
        (RECORD | {"id": 7}, "id: expected str, got int"),
        (RECORD | {"text": None}, "text: expected str, got null"),
        (RECORD | {"lable": []}, "has the unknown field lable"),
        ({"id": "a", "text": "林晓在"}, "lacks entities"),
        ([RECORD], "expected object, got array"),
    ],
)
def test_an_edited_record_is_refused_with_its_place(tmp_path: Path, record: Any, problem: str) -> None:
    path = gold(tmp_path, RECORD, record)
    with pytest.raises(UserError) as error:
        list(read_gold(path))
    message = str(error.value).replace("\\'", "'")
    assert message.startswith(f"{path}:2: {problem}")
    assert message.endswith("; run `make data CORPUS=demo`")


def test_a_duplicate_id_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"train\.jsonl:2: duplicate id a; run `make data CORPUS=demo`"):
        list(read_gold(gold(tmp_path, RECORD, RECORD)))


def test_records_are_values_that_do_not_change(tmp_path: Path) -> None:
    record = Record("a", "林晓在", (Entity(2, 3, "x", "在"), Entity(0, 2, "name", "林晓")))
    assert [entity.start for entity in record.gold] == [0, 2]  # sorted by position
    assert hash(record) == hash(Record("a", "林晓在", record.gold)) and record == Record("a", "林晓在", record.gold)
    with pytest.raises(AttributeError):
        record.text = "甲"  # type: ignore[misc]
    with pytest.raises(ValueError, match="does not fit"):
        msgspec.structs.replace(record, text="林")


def test_gold_of_earlier_versions_is_read_and_written_with_the_same_values(tmp_path: Path) -> None:
    previous = ROOT / "tests/previous/gold.jsonl"
    assert write_gold(tmp_path / "gold.jsonl", read_gold(previous)) == 12
    before, after = (path.read_text(encoding="utf-8").splitlines() for path in (previous, tmp_path / "gold.jsonl"))
    assert [json.loads(line) for line in after] == [json.loads(line) for line in before]
