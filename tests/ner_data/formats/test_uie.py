"""PaddleNLP's lines of a text and a prompt: how they become records, what is refused and why, and what is written."""

import json
from pathlib import Path

import pytest

from ner_common.errors import UserError
from ner_data.formats import uie
from ner_data.gold import Entity, Record
from raw_files import read
from record_files import reasons, written

TEXT = "林晓在云帆科技任经理"
NAME, COMPANY = Entity(0, 2, "name", "林晓"), Entity(3, 7, "company", "云帆科技")


def result(start: object = 0, end: object = 2, text: object = "林晓", **more: object) -> dict[str, object]:
    return {"text": text, "start": start, "end": end, **more}


def line(prompt: object, *results: object, text: object = TEXT, **more: object) -> bytes:
    value = {"content": text, "result_list": results, "prompt": prompt, **more}
    return json.dumps(value, ensure_ascii=False).encode() + b"\n"


GOOD = line("name", result()) + line("company", text="没有人") + line("company", result(3, 7, "云帆科技"))
MALFORMED: list[tuple[str, bytes]] = [
    ("the end is inclusive", line("name", result(0, 1))),
    ("the end is behind the text", line("name", result(8, 11, "经理"))),
    ("reversed offsets", line("name", result(2, 0))),
    ("an empty mention", line("name", result(2, 2, ""))),
    ("an offset is a string", line("name", result("0", 2))),
    ("an offset is a float", line("name", result(0, 2.0))),
    ("an offset is a boolean", line("name", result(False, 2))),
    ("no surface", line("name", {"start": 0, "end": 2})),
    ("the surface is null", line("name", result(0, 2, None))),
    ("no prompt", b'{"content": "a", "result_list": []}'),
    ("the prompt is empty", line("", result())),
    ("the prompt is a list", line(["name"], result())),
    ("no result_list", b'{"content": "a", "prompt": "name"}'),
    ("no content", b'{"result_list": [], "prompt": "name"}'),
    ("the content is empty", line("name", text="")),
    ("a classification", line("情感倾向[正向,负向]", result(-6, -4, "正向"))),
    ("a record that is a list", b'[1]\n[2]\n'),
    ("cut off", GOOD[:-9]),
    ("a key twice", b'{"content": "a", "result_list": [], "prompt": "x", "prompt": "y"}'),
    ("a lone surrogate", b'{"content": "a", "result_list": [], "prompt": "\\ud800"}'),
]  # fmt: skip


def put(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


def test_the_lines_of_a_text_are_one_record_wherever_they_are(tmp_path: Path) -> None:
    first, second = read(uie, put(tmp_path / "a.txt", GOOD), gold=True)
    assert (first.line, first.text, first.entities, first.repairs) == (1, TEXT, (NAME, COMPANY), ())
    assert (second.line, second.text, second.entities) == (2, "没有人", ())


def test_a_text_with_two_lines_of_a_prompt_is_two_records(tmp_path: Path) -> None:
    content = line("name", result()) + line("company") + line("name") + line("company", result(3, 7, "云帆科技"))
    samples = read(uie, put(tmp_path / "a.txt", content), gold=True)
    assert [(sample.line, sample.entities) for sample in samples] == [(1, (NAME,)), (3, (COMPANY,))]


def test_a_text_that_is_there_often_takes_no_long_time(tmp_path: Path) -> None:
    content = (line("name", text="。") + line("company", text="。")) * 20_000
    samples = read(uie, put(tmp_path / "a.txt", content), gold=True)
    assert (len(samples), samples[-1].line, samples[-1].entities) == (20_000, 39_999, ())


def test_prompts_of_relations_are_skipped_and_counted(tmp_path: Path) -> None:
    relation = line("林晓的职位", result(8, 10, "经理")) + line("employer of 林晓", result(3, 7, "云帆科技"))
    content = line("name", result()) + relation + line("林晓的父亲")
    (sample,) = read(uie, put(tmp_path / "a.txt", content), gold=True)
    assert (sample.entities, sample.repairs) == ((NAME,), (uie.RELATIONS,) * 2)


def test_a_bad_line_makes_its_text_bad_and_one_that_is_no_json_the_file(tmp_path: Path) -> None:
    content = line("name", result()) + line("company", result(3, 8, "云帆科技")) + line("company", text="没有人")
    bad, good = read(uie, put(tmp_path / "a.txt", content), gold=True)
    assert bad.problem == (
        "offsets do not match",
        "company '云帆科技' at [3, 8), but the text has '云帆科技任' there (ends are exclusive)",
    )
    assert (bad.labels, good.text) == ({"name", "company"}, "没有人")
    with pytest.raises(UserError, match=r"a\.txt:4: not JSON: '\{\"content.*fix it, or its text would lack mentions"):
        read(uie, put(tmp_path / "a.txt", content + b'{"content'), gold=True)


def test_without_gold_a_text_needs_no_prompt(tmp_path: Path) -> None:
    (sample,) = read(uie, put(tmp_path / "a.txt", b'{"content": "a"}'), gold=False)
    assert (sample.text, sample.entities, sample.problem) == ("a", None, None)


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    nested = (NAME, Entity(0, 7, "company", "林晓在云帆科技"), COMPANY)
    records = [
        Record("a", TEXT, nested),
        Record("b", "没有人", ()),
        Record("c", TEXT, (COMPANY,)),
        Record("d", TEXT, ()),
    ]
    path = written(uie, records, tmp_path / "out")
    assert path.name == "out.txt"
    lines = [json.loads(row) for row in path.read_bytes().split(b"\n") if row]
    assert [(row["content"], row["prompt"]) for row in lines[:4]] == [
        (TEXT, "company"), (TEXT, "name"), ("没有人", "company"), ("没有人", "name"),
    ]  # fmt: skip
    samples = read(uie, path, gold=True)
    assert [(sample.text, sample.entities) for sample in samples] == [
        (record.text, record.entities) for record in records
    ]


def test_malformed_records_have_a_reason(tmp_path: Path) -> None:
    assert reasons(uie, MALFORMED, tmp_path / "a.txt") == {
        "the end is inclusive": "offsets do not match",
        "the end is behind the text": "offsets out of range",
        "reversed offsets": "reversed offsets",
        "an empty mention": "empty mention",
        "an offset is a string": "malformed offsets",
        "an offset is a float": "malformed offsets",
        "an offset is a boolean": "malformed offsets",
        "no surface": "malformed entities",
        "the surface is null": "malformed entities",
        "no prompt": "malformed entities",
        "the prompt is empty": "malformed label",
        "the prompt is a list": "malformed label",
        "no result_list": "no gold",
        "no content": "no text",
        "the content is empty": "no text",
        "a classification": "offsets out of range",
        "a record that is a list": "malformed record",
        "cut off": "a.txt:3: not JSON: "
        + repr(GOOD.split(b"\n")[2].decode()[:-8])[:59] + "…; fix it, or its text would lack mentions",
        "a key twice": "duplicate key",
        "a lone surrogate": "lone surrogate",
    }  # fmt: skip
