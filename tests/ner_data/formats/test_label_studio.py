"""Label Studio's exports: annotations, emoji, white space, what is skipped and refused, and what is written."""

import json
from pathlib import Path

import pytest

from ner_data.formats import label_studio
from ner_data.gold import Entity, Record
from raw_files import read
from record_files import reasons, written

TEXT = "林晓在云帆科技任经理"
NAME = Entity(0, 2, "name", "林晓")


def value(
    start: object = 0, end: object = 2, text: object = "林晓", labels: object = ("name",), **more: object
) -> dict[str, object]:
    return {"start": start, "end": end, "text": text, "labels": labels, **more}


def region(*spans: object, kind: str = "labels", **more: object) -> dict[str, object]:
    return {
        "id": "qd1j",
        "from_name": "label",
        "to_name": "text",
        "type": kind,
        "origin": "manual",
        "value": value(*spans, **more),
    }


def annotation(*results: object, **more: object) -> dict[str, object]:
    return {"id": 9, "completed_by": 1, "was_cancelled": False, "ground_truth": False, "result": results, **more}


def tasks(*annotations: object, text: str = TEXT, **more: object) -> bytes:
    task = {"id": 1, "data": {"text": text}, "annotations": annotations, "predictions": [], "drafts": [], **more}
    return json.dumps([task], ensure_ascii=False, indent=1).encode()


GOOD = tasks(annotation(region(), region(3, 7, "云帆科技", ["company"])))
MALFORMED: list[tuple[str, bytes]] = [
    ("the end is behind the text", tasks(annotation(region(8, 11, "经理")))),
    ("reversed offsets", tasks(annotation(region(2, 0)))),
    ("an empty mention", tasks(annotation(region(2, 2, "")))),
    ("the surface is elsewhere", tasks(annotation(region(1, 3)))),
    ("offsets of HTML", tasks(annotation(region("/div[1]/text()[1]", "/div[1]/text()[1]")))),
    ("an offset is a float", tasks(annotation(region(0.0, 2)))),
    ("regions of HTML", tasks(annotation(region(kind="hypertextlabels")))),
    ("no labels in a region", tasks(annotation(region(0, 2, "林晓", [])))),
    ("a label is a number", tasks(annotation(region(0, 2, "林晓", [1])))),
    ("labels are a string", tasks(annotation(region(0, 2, "林晓", "name")))),
    ("a region without a value", tasks(annotation({"type": "labels"}))),
    ("no annotations", tasks()),
    ("only cancelled annotations", tasks(annotation(was_cancelled=True))),
    ("two annotations", tasks(annotation(region()), annotation(region()))),
    ("two of them are ground truth", tasks(annotation(ground_truth=True), annotation(ground_truth=True))),
    ("a result that is no list", tasks({"result": {}})),
    ("the text is under another key", json.dumps([{"data": {"ner": TEXT}, "annotations": []}]).encode()),
    ("a task of an image", json.dumps([{"data": {"image": 1}, "annotations": []}]).encode()),
    ("JSON-MIN without labels and annotation", json.dumps([{"text": TEXT}]).encode()),
    ("cut off", GOOD[:-9]),
]


def put(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


def test_the_labels_of_an_annotation_are_read(tmp_path: Path) -> None:
    (sample,) = read(label_studio, put(tmp_path / "a.json", GOOD), gold=True)
    assert (sample.identity, sample.text, sample.repairs) == (1, TEXT, ())
    assert sample.entities == (NAME, Entity(3, 7, "company", "云帆科技"))


def test_json_min_is_read(tmp_path: Path) -> None:
    one = {"id": 1, "text": TEXT, "label": [value()], "annotator": 1, "annotation_id": 1, "lead_time": 3.5}
    none = {"id": 2, "text": "没有人", "annotator": 1, "annotation_id": 2}
    first, second = read(label_studio, put(tmp_path / "a.json", json.dumps([one, none]).encode()), gold=True)
    assert (first.entities, second.entities, second.problem) == ((NAME,), (), None)


def test_keys_are_options(tmp_path: Path) -> None:
    content = json.dumps([{"ner": TEXT, "tags": [value()], "annotation_id": 1}]).encode()
    (sample,) = read(label_studio, put(tmp_path / "a.json", content), gold=True, text="ner", label="tags")
    assert (sample.text, sample.entities) == (TEXT, (NAME,))


def test_a_region_with_two_labels_is_two_mentions(tmp_path: Path) -> None:
    content = tasks(annotation(region(0, 2, "林晓", ["name", "boss"])))
    (sample,) = read(label_studio, put(tmp_path / "a.json", content), gold=True)
    assert sample.entities == (Entity(0, 2, "boss", "林晓"), NAME)


def test_what_is_not_read_is_counted(tmp_path: Path) -> None:
    chosen = annotation(
        region(), {"type": "choices", "value": {"choices": ["good"]}}, {"type": "relation"}, ground_truth=True
    )
    content = tasks(
        annotation(was_cancelled=True), annotation(), chosen, predictions=[{"result": []}], drafts=[{}, {}]
    )
    (sample,) = read(label_studio, put(tmp_path / "a.json", content), gold=True)
    assert sample.entities == (NAME,)
    assert sorted(sample.repairs) == sorted(
        [label_studio.CANCELLED, label_studio.OTHERS, *[label_studio.PREDICTIONS] * 3, *[label_studio.RESULTS] * 2]
    )


@pytest.mark.parametrize(("start", "end", "repairs"), [(2, 4, ()), (3, 5, (label_studio.UNITS,))])
def test_offsets_behind_an_emoji_are_told_by_the_surface(
    tmp_path: Path, start: int, end: int, repairs: tuple[str, ...]
) -> None:
    content = tasks(annotation(region(start, end)), text="😀，林晓")
    (sample,) = read(label_studio, put(tmp_path / "a.json", content), gold=True)
    assert (sample.entities, sample.repairs) == ((Entity(2, 4, "name", "林晓"),), repairs)


def test_offsets_behind_an_emoji_without_a_surface_are_refused(tmp_path: Path) -> None:
    content = tasks(annotation(region(2, 4, None)), text="😀，林晓")
    (sample,) = read(label_studio, put(tmp_path / "a.json", content), gold=True)
    assert sample.problem and sample.problem[0] == "ambiguous offsets"
    (sample,) = read(label_studio, put(tmp_path / "a.json", tasks(annotation(region(0, 2, None)))), gold=True)
    assert sample.entities == (NAME,)


@pytest.mark.parametrize("surface", ["Berlin, Ger", "Berlin,\\nGer", "Berlin,\n\nGer"])
def test_white_space_that_a_browser_changed_is_counted(tmp_path: Path, surface: str) -> None:
    content = tasks(annotation(region(0, 12, surface)), text="Berlin,\n Germany")
    (sample,) = read(label_studio, put(tmp_path / "a.json", content), gold=True)
    assert sample.entities == (Entity(0, 12, "name", "Berlin,\n Ger"),)
    assert sample.repairs == (label_studio.SPACES,)


def test_without_gold_annotations_are_not_looked_at(tmp_path: Path) -> None:
    (sample,) = read(label_studio, put(tmp_path / "a.json", tasks(annotation(region(2, 0)))), gold=False)
    assert (sample.text, sample.entities, sample.problem) == (TEXT, None, None)


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    entities = (
        Entity(0, 1, "x", "😀"),
        Entity(1, 4, "x", "甲\n乙"),
        Entity(1, 5, "y", "甲\n乙 "),
        Entity(1, 5, "z", "甲\n乙 "),
    )
    records = [Record("a", "😀甲\n乙 ", entities), Record("b", "没有人", ()), Record("c", "?", None)]
    path = written(label_studio, records, tmp_path / "out")
    assert json.loads(path.read_bytes())[0]["data"] == {"id": "a", "text": "😀甲\n乙 "}
    first, second, third = read(label_studio, path, gold=True)
    assert (first.text, first.entities, first.repairs) == ("😀甲\n乙 ", entities, ())
    assert (second.text, second.entities) == ("没有人", ())
    assert third.problem and third.problem[0] == "no gold"


def test_malformed_records_have_a_reason(tmp_path: Path) -> None:
    assert reasons(label_studio, MALFORMED, tmp_path / "a.json") == {
        "the end is behind the text": "offsets out of range",
        "reversed offsets": "reversed offsets",
        "an empty mention": "empty mention",
        "the surface is elsewhere": "offsets do not match",
        "offsets of HTML": "malformed offsets",
        "an offset is a float": "malformed offsets",
        "regions of HTML": "regions of another kind",
        "no labels in a region": "malformed label",
        "a label is a number": "malformed label",
        "labels are a string": "malformed label",
        "a region without a value": "malformed entities",
        "no annotations": "no gold",
        "only cancelled annotations": "no gold",
        "two annotations": "several annotations",
        "two of them are ground truth": "several annotations",
        "a result that is no list": "malformed entities",
        "the text is under another key": "no text",
        "a task of an image": "no text",
        "JSON-MIN without labels and annotation": "no gold",
        "cut off": "a.json:48: not a JSON array (Input data was truncated); correct it there, or write JSON lines",
    }


def test_messages_say_what_is_there_and_what_helps(tmp_path: Path) -> None:
    wanted = {
        tasks(annotation(), annotation()): "has 2 annotations, none of them ground truth; mark one as ground truth in "
        "Label Studio, or delete the others",
        tasks(annotation(was_cancelled=True)): "has only cancelled annotations (1); annotate the task, "
        "or remove it; set `gold: false` for a split without labels",
        json.dumps(
            [{"data": {"ner": TEXT}}]
        ).encode(): "has no 'text', only ner; name the key with `options: {text: KEY}`",
    }
    for content, message in wanted.items():
        (sample,) = read(label_studio, put(tmp_path / "a.json", content), gold=True)
        assert sample.problem and sample.problem[1] == message
