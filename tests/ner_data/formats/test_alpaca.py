"""Alpaca items with our answers: what is read, what is refused and why, and that what is written is what we train on."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ner_common.errors import UserError
from ner_data.answers import form_names
from ner_data.formats import alpaca, messages
from ner_data.gold import Entity, Record
from ner_data.prompt import AGAIN
from raw_files import read
from record_files import put, reasons, written

TEXT = "林晓在云帆科技任经理"
NAME, COMPANY = Entity(0, 2, "name", "林晓"), Entity(3, 7, "company", "云帆科技")
ANSWER = '[{"text":"林晓","label":"name"},{"text":"云帆科技","label":"company"}]'


def items(*given: dict[str, Any]) -> bytes:
    return json.dumps(list(given), ensure_ascii=False, indent=1).encode() + b"\n"


def one(answer: Any = ANSWER, text: Any = TEXT, **more: Any) -> dict[str, Any]:
    return {"system": "系统", "instruction": "请抽取", "input": text, "output": answer, **more}


GOOD = items(one(id="a-1"), one("[]", "没有人", id="a-2"))
MALFORMED: list[tuple[str, bytes]] = [
    ("no input", items({"instruction": "请抽取", "output": "[]"})),
    ("the input is empty", items(one("[]", ""))),
    ("the input is a list", items(one("[]", ["林晓"]))),
    ("no output", items({"input": TEXT})),
    ("the output is null", items(one(None))),
    ("the output is a list", items(one([]))),
    ("the output is empty", items(one(""))),
    ("the answer is cut off", items(one(ANSWER[:-9]))),
    ("words around the answer", items(one(f"答案：{ANSWER}"))),
    ("another form", items(one('{"name":["林晓"]}'))),
    ("an item without label", items(one('[{"text":"林晓"}]'))),
    ("an empty label", items(one('[{"text":"林晓","label":" "}]'))),
    ("a mention that is not in the text", items(one('[{"text":"王五","label":"name"}]'))),
    ("an empty mention", items(one('[{"text":"","label":"name"}]'))),
    ("a mention more often than in the text", items(one('[{"text":"林晓","label":"name"},{"text":"林晓","label":"name"}]'))),
    ("a conversation", items(one(history=[["你好", "你好"]]))),
    ("the id is an object", items(one(id={}))),
    ("an item is a string", items("林晓")),  # type: ignore[arg-type]
    ("a key twice", b'[{"input": "a", "input": "b", "output": "[]"}]'),
    ("a lone surrogate", b'[{"input": "a\\ud800", "output": "[]"}]'),
    ("a lone surrogate in a line", b'{"input": "a\\ud800", "output": "[]"}\n'),
    ("cut off", GOOD[:-9]),
    ("no array", b'"text"\n'),
]  # fmt: skip


def test_the_text_is_the_input_and_the_answer_the_output(tmp_path: Path) -> None:
    first, second = read(alpaca, put(GOOD, tmp_path / "a.json"), gold=True)
    assert (first.line, first.text, first.entities, first.identity) == (2, TEXT, (NAME, COMPANY), "a-1")
    assert (second.line, second.text, second.entities, second.identity) == (9, "没有人", (), "a-2")
    lines = b"".join(json.dumps(item).encode() + b"\n" for item in json.loads(GOOD))
    assert [s.entities for s in read(alpaca, put(lines, tmp_path / "a.jsonl"), gold=True)] == [(NAME, COMPANY), ()]


def test_without_gold_no_answer_is_needed_or_read(tmp_path: Path) -> None:
    content = items({"input": TEXT}, one("what a model said"))
    samples = read(alpaca, put(content, tmp_path / "a.json"), gold=False)
    assert [(sample.text, sample.entities, sample.problem) for sample in samples] == [(TEXT, None, None)] * 2


def test_a_text_that_is_given_twice_with_control_tokens_is_read_once_as_it_was(tmp_path: Path) -> None:
    text = "< |im_end|>林晓"
    content = items(one('[{"text":"林晓","label":"name"}]', f"{text}\n{AGAIN}\n{text}"))
    (sample,) = read(alpaca, put(content, tmp_path / "a.json"), gold=True)
    assert (sample.text, sample.entities) == ("<|im_end|>林晓", (Entity(10, 12, "name", "林晓"),))


def test_thoughts_before_an_answer_are_no_part_of_it(tmp_path: Path) -> None:
    (sample,) = read(alpaca, put(items(one(f"<think>\n\n</think>\n\n{ANSWER}")), tmp_path / "a.json"), gold=True)
    assert sample.entities == (NAME, COMPANY)


def test_what_is_refused(tmp_path: Path) -> None:
    assert reasons(alpaca, MALFORMED, tmp_path / "a.json") == {
        "no input": "no text",
        "the input is empty": "no text",
        "the input is a list": "no text",
        "no output": "no gold",
        "the output is null": "no gold",
        "the output is a list": "no answer",
        "the output is empty": "malformed answer",
        "the answer is cut off": "malformed answer",
        "words around the answer": "malformed answer",
        "another form": "malformed answer",
        "an item without label": "malformed answer",
        "an empty label": "malformed label",
        "a mention that is not in the text": "mention not in the text",
        "an empty mention": "mention not in the text",
        "a mention more often than in the text": "repeated mention",
        "a conversation": "several turns",
        "the id is an object": "malformed id",
        "an item is a string": "malformed record",
        "a key twice": "duplicate key",
        "a lone surrogate": "a.json:1: not a JSON array (unexpected end of hex escape); correct it there, or write JSON lines",
        "a lone surrogate in a line": "lone surrogate",
        "cut off": "a.json:14: not a JSON array (Input data was truncated); correct it there, or write JSON lines",
        "no array": "malformed record",
    }


def test_messages_say_what_to_do_and_labels_are_named(tmp_path: Path) -> None:
    content = items(one('[{"text":"王五","label":"name"}]'), one("name：林晓"))
    missing, form = read(alpaca, put(content, tmp_path / "a.json"), gold=True)
    assert missing.problem == ("mention not in the text", "name '王五': the text has no such surface")
    assert missing.labels == {"name"}
    assert form.problem and form.problem[1] == (
        "'name：林晓' is not exactly in the form json_list; name its form with the option form, one of "
        f"{', '.join(form_names())}"
    )


def test_an_unknown_form_is_a_wrong_option() -> None:
    with pytest.raises(UserError, match=r"options: form must be one of inline, .*, not 'xml'"):
        alpaca.Reader(form="xml")


def test_what_make_data_writes_is_read_back_to_gold_and_written_again(
    workplace: Path, make_demo: Callable[..., None]
) -> None:
    from ner_common.files import write_together
    from ner_data import load_corpus, read_gold

    make_demo()
    ours = Path("data/alpaca/demo_train.json")
    gold = list(read_gold(Path("data/gold/demo/train.jsonl")))
    samples = read(alpaca, ours, gold=True)
    assert [(sample.identity, sample.text, sample.entities) for sample in samples] == [
        (record.id, record.text, record.entities) for record in gold
    ]
    with write_together() as write:
        alpaca.Reader().write(gold, Path("copy"), load_corpus("demo"), write)
    assert Path("copy.json").read_bytes() == ours.read_bytes()


@pytest.mark.parametrize("form", form_names())
def test_other_forms(tmp_path: Path, form: str) -> None:
    records = [Record("1", TEXT, (NAME, COMPANY)), Record("2", "没有人", ())]
    path = written(alpaca, records, tmp_path / "a", form=form)
    assert [sample.entities for sample in read(alpaca, path, gold=True, form=form)] == [(NAME, COMPANY), ()]


def test_a_record_whose_answer_does_not_tell_the_place_is_refused_unless_any_answer_will_do(tmp_path: Path) -> None:
    second = Record("1", "甲在甲", (Entity(2, 3, "name", "甲"),))
    problem = alpaca.Reader().refusal(second)
    assert problem and problem[0] == "inexact answer" and "--option exact=false" in problem[1]
    assert alpaca.Reader(form="inline").refusal(second) is None
    assert alpaca.Reader(exact=False).refusal(second) is None
    path = written(alpaca, [second], tmp_path / "a", exact=False)
    assert json.loads(path.read_bytes())[0]["output"] == '[{"text":"甲","label":"name"}]'


def test_records_without_gold_have_no_output(tmp_path: Path) -> None:
    (item,) = json.loads(written(alpaca, [Record("1", TEXT, None)], tmp_path / "a").read_bytes())
    assert list(item) == ["system", "instruction", "input", "id"]


@st.composite
def gold_records(draw: st.DrawFn) -> Record:
    text = draw(st.text('甲乙丙<|im_end>[MASK] \n文本："\\', min_size=1, max_size=20))
    spans = draw(
        st.lists(st.tuples(st.integers(0, 19), st.integers(1, 20), st.sampled_from(["x", "类 y"])), max_size=4)
    )
    entities = {Entity(start, end, label, text[start:end]) for start, end, label in spans if start < end <= len(text)}
    return Record("1", text, tuple(sorted(entities)))


@pytest.mark.parametrize("module", [alpaca, messages])
@pytest.mark.parametrize("form", form_names())
@settings(max_examples=60, deadline=None)
@given(record=gold_records())
def test_what_is_not_refused_is_read_back(tmp_path_factory: Any, module: Any, form: str, record: Record) -> None:
    if module.Reader(form=form).refusal(record):
        return
    path = written(module, [record], tmp_path_factory.mktemp("file") / "a", form=form)
    (sample,) = read(module, path, gold=True, form=form)
    assert (sample.problem, sample.text, sample.entities) == (None, record.text, record.entities)
