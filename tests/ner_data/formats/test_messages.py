"""Chat messages with our answers: where the text is, what is refused and why, and what other programs make of them."""

import json
from pathlib import Path
from typing import Any

import pytest

from ner_common.errors import UserError
from ner_common.files import write_together
from ner_data.corpus import load_corpus
from ner_data.formats import messages
from ner_data.gold import Entity, Record
from raw_files import read
from record_files import put, reasons, written
from support import ROOT

TEXT = "林晓在云帆科技任经理"
NAME, COMPANY = Entity(0, 2, "name", "林晓"), Entity(3, 7, "company", "云帆科技")
ANSWER = '[{"text":"林晓","label":"name"},{"text":"云帆科技","label":"company"}]'
ASKED = f"请抽取。\n文本：\n{TEXT}"


def turns(*said: tuple[str, Any]) -> list[dict[str, Any]]:
    return [{"role": role, "content": content} for role, content in said]


def line(asked: Any = ASKED, answer: Any = ANSWER, **more: Any) -> bytes:
    said = turns(("system", "系统"), ("user", asked), ("assistant", answer))
    return json.dumps({"messages": said, **more}, ensure_ascii=False).encode() + b"\n"


def record(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False).encode() + b"\n"


GOOD = line() + line("文本：\n没有人", "[]")
MALFORMED: list[tuple[str, bytes]] = [
    ("no messages", record({"text": TEXT})),
    ("messages are an object", record({"messages": {}})),
    ("no message", record({"messages": []})),
    ("a message is a string", record({"messages": [TEXT]})),
    ("a message without content", record({"messages": [{"role": "user"}]})),
    ("content in parts", line([{"type": "text", "text": ASKED}])),
    ("ShareGPT's keys", record({"conversations": [{"from": "human", "value": ASKED}]})),
    ("only a system text", record({"messages": turns(("system", "系统"))})),
    ("no answer", record({"messages": turns(("user", ASKED))})),
    ("two answers", record({"messages": turns(("user", ASKED), ("assistant", ANSWER), ("assistant", ANSWER))})),
    ("two questions", record({"messages": turns(("user", ASKED), ("assistant", "[]")) * 2})),
    ("a tool", record({"messages": turns(("user", ASKED), ("tool", "1"), ("assistant", "[]"))})),
    ("no line before the text", line(TEXT)),
    ("nothing after the line", line("请抽取。\n文本：\n")),
    ("white space after the line", line("请抽取。\n文本：\n \n")),
    ("another form", line(answer="林晓 name")),
    ("a mention that is not in the text", line(answer='[{"text":"请抽取","label":"name"}]')),
    ("the id is a list", line(id=[])),
    ("an array in a line", record([1]) + record([2])),
    ("cut off", GOOD[:-9]),
    ("a key twice", b'{"messages": [], "messages": []}'),
    ("a lone surrogate", b'{"messages": [{"role": "user", "content": "\\udc00"}]}'),
]  # fmt: skip


def test_the_text_follows_the_first_line_that_is_the_mark(tmp_path: Path) -> None:
    content = GOOD + line("文本：示例\n文本：\n甲\n文本：\n乙", '[{"text":"甲\\n文本：\\n乙","label":"name"}]', id=7)
    first, second, third = read(messages, put(content, tmp_path / "a.jsonl"), gold=True)
    assert (first.line, first.text, first.entities, first.identity) == (1, TEXT, (NAME, COMPANY), None)
    assert (second.line, second.text, second.entities) == (2, "没有人", ())
    whole = "甲\n文本：\n乙"
    assert (third.text, third.entities, third.identity) == (whole, (Entity(0, 7, "name", whole),), 7)


def test_another_mark_or_none(tmp_path: Path) -> None:
    content = line(f"Extract names.\nText:\n{TEXT}")
    (sample,) = read(messages, put(content, tmp_path / "a.jsonl"), gold=True, mark="Text:")
    assert sample.text == TEXT
    (sample,) = read(messages, put(line(f" {TEXT}"), tmp_path / "a.jsonl"), gold=True, mark="")
    assert (sample.text, sample.entities) == (
        f" {TEXT}",
        (Entity(1, 3, "name", "林晓"), Entity(4, 8, "company", "云帆科技")),
    )


def test_prompt_and_completion_are_read_too(tmp_path: Path) -> None:
    value = {"prompt": turns(("user", ASKED)), "completion": turns(("assistant", ANSWER))}
    (sample,) = read(messages, put(record(value), tmp_path / "a.jsonl"), gold=True)
    assert (sample.text, sample.entities) == (TEXT, (NAME, COMPANY))


def test_without_gold_no_answer_is_needed_or_read(tmp_path: Path) -> None:
    content = record({"messages": turns(("user", ASKED))}) + line(answer="what a model said")
    samples = read(messages, put(content, tmp_path / "a.jsonl"), gold=False)
    assert [(sample.text, sample.entities, sample.problem) for sample in samples] == [(TEXT, None, None)] * 2


def test_what_is_refused(tmp_path: Path) -> None:
    assert reasons(messages, MALFORMED, tmp_path / "a.jsonl") == {
        "no messages": "no messages",
        "messages are an object": "no messages",
        "no message": "other turns",
        "a message is a string": "malformed message",
        "a message without content": "malformed message",
        "content in parts": "malformed message",
        "ShareGPT's keys": "no messages",
        "only a system text": "other turns",
        "no answer": "no gold",
        "two answers": "other turns",
        "two questions": "other turns",
        "a tool": "other turns",
        "no line before the text": "no text",
        "nothing after the line": "no text",
        "white space after the line": "no text",
        "another form": "malformed answer",
        "a mention that is not in the text": "mention not in the text",
        "the id is a list": "malformed id",
        "an array in a line": "malformed record",
        "cut off": "malformed JSON",
        "a key twice": "duplicate key",
        "a lone surrogate": "lone surrogate",
    }


def test_messages_say_what_to_do_and_labels_are_named(tmp_path: Path) -> None:
    content = line(TEXT) + line(answer='[{"text":"王五","label":"name"}]')
    mark, missing = read(messages, put(content, tmp_path / "a.jsonl"), gold=True)
    assert mark.problem == (
        "no text",
        "the user's turn '林晓在云帆科技任经理' has no line 文本：; name the line that is before the text with the option "
        "mark (empty: the turn is the text)",
    )
    assert missing.labels == {"name"}


def write(records: list[Record], target: Path, **options: Any) -> list[dict[str, Any]]:
    """Write records of the corpus demo."""
    with write_together() as opener:
        messages.Reader(**options).write(records, target, load_corpus("demo"), opener)
    return [json.loads(row) for row in target.with_name(f"{target.name}.jsonl").read_text("utf-8").splitlines()]


def test_a_line_is_the_prompt_that_we_train_with_and_the_answer(workplace: Path) -> None:
    from ner_data.alpaca import build_spec

    gold = Record("1", TEXT, (NAME, COMPANY))
    spec = build_spec(load_corpus("demo"), [gold], "json_list")
    asked, answer = spec.messages(TEXT), {"role": "assistant", "content": ANSWER}
    assert write([gold, Record("2", TEXT, None)], Path("a")) == [
        {"messages": [*asked, answer]},
        {"messages": asked},
    ]
    assert write([gold], Path("b"), completion=True) == [{"prompt": asked, "completion": [answer]}]
    assert write([gold], Path("c"), ids=True) == [{"id": "1", "messages": [*asked, answer]}]


def test_definitions_are_in_the_instruction_and_must_be_there(workplace: Path) -> None:
    gold = Record("1", TEXT, (NAME,))
    (item,) = write([gold], Path("a"), definitions=True)
    assert load_corpus("demo").labels[0].definition in item["messages"][1]["content"]
    with pytest.raises(UserError, match=r"data/corpora/my\.yaml: no label has a definition; leave definitions out"):
        written(messages, [gold], Path("b"), definitions=True)


@pytest.mark.train
def test_trl_takes_a_line_as_a_conversation_and_the_answer_as_what_is_learned(tmp_path: Path) -> None:
    from datasets import load_dataset
    from transformers import AutoTokenizer
    from trl.data_utils import apply_chat_template, is_conversational

    tokenizer = AutoTokenizer.from_pretrained(ROOT / "data/nano")
    gold = [Record("1", TEXT, (NAME, COMPANY)), Record("2", "没有人", ())]
    rows = {}
    for name, options in (("whole", {}), ("parts", {"completion": True})):
        path = written(messages, gold, tmp_path / name, **options)
        rows[name] = load_dataset("json", data_files=str(path), split="train", cache_dir=str(tmp_path / "cache"))
        assert all(is_conversational(row) for row in rows[name])
    whole, parts = (apply_chat_template(rows[name][0], tokenizer) for name in ("whole", "parts"))
    assert parts["completion"].startswith(ANSWER)
    assert whole["text"] == parts["prompt"] + parts["completion"]
