"""What users give to `ner-eval extract`: read right, or refused in one line, and never misread without a word."""

import csv
import io
import json
import random
from collections import Counter
from pathlib import Path

import pytest

from ner_common.errors import UserError
from ner_eval.extract import line
from ner_eval.inference.documents import FORMATS, Document, read_documents
from ner_eval.inference.recognized import Recognized

TEXTS = [
    "林晓在云帆科技任经理",
    "第二句。",
    '引号"和,逗号',
    "换行\n在中间",
    "😀\u2028\u0085x",
    " 空 格 ",
    "",
    "[1]",
    "{",
]


def read(name: str, form: str | None = None, whole: bool = False) -> list[Document]:
    return list(read_documents(name, form, "text", whole))


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("t.json", '["林晓在", "王五在"]', "t.json:1: is a JSON array; write one JSON object or string per line"),
        ("t.json", '[\n {"text": "林晓在"}\n]', "t.json:1: not JSON"),
        ("t.json", '{\n "text": "林晓在"\n}', "for example with `jq -c`"),
        ("t.jsonl", "[1]", "is a JSON array"),
        ("t.jsonl", '{"text": "a", "n": ' + "9" * 5000 + "}", "integer value out of range"),
        ("t.jsonl", "[" * 100_000, "nested more than 64 levels deep"),
        ("t.jsonl", '{"text": "a", "n": NaN}', "not JSON"),
        ("t.xlsx", b"PK\x03\x04\x14\x00text", "a .xlsx file is not read; export it as text, JSON lines or CSV"),
        ("t.tsv", "id\ttext\n1\t林晓在\n", "a .tsv file is not read"),
        ("t.txt", b"PK\x03\x04\x14\x00\x06\x00text only ASCII\n", "t.txt:1: a binary file, not text"),
        ("t.txt", b"PK\x03\x04\x14\x00\x06\x00\xff\xfe\n", "t.txt: a binary file, not text"),
        ("t.csv", b"text\na\x00b\n", "t.csv:2: a binary file"),
        ("t.csv", "text,text\na,b\n", "two columns have one name"),
        ("t.csv", 'text\n"林晓在\n王五在\n', "not CSV (unexpected end of data)"),
        ("t.csv", "", "has no column 'text', only none"),
        ("t.txt", "林晓在".encode("utf-16"), "not UTF-8"),
        ("t.html", "<p>林晓在</p>", "a .html file is not read"),
        ("t.txt", '["林晓在", "王五在"]\n', "t.txt: looks like JSON, not like text; say what it holds with --format"),
        ("t", '[\n "林晓在"\n]\n', "t: looks like JSON"),
        ("t.txt", '{"text": "林晓在"}\n{"text": "王五在"}\n', "t.txt: looks like JSON"),
        ("t.txt", "%PDF-1.7\n1 0 obj\n", "t.txt: looks like a PDF file"),
        ("t.txt", "{\\rtf1\\ansi 林晓}", "t.txt: looks like an RTF file"),
        ("t", "\n<!DOCTYPE html>\n", "t: looks like an HTML page"),
    ],
)
def test_what_is_no_text_is_refused(tmp_path, monkeypatch, name, content, words) -> None:
    monkeypatch.chdir(tmp_path)
    Path(name).write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(UserError) as caught:
        read(name)
    assert words in str(caught.value) and str(caught.value).isprintable()


def test_a_format_that_is_named_counts_more_than_the_suffix(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("t.tsv").write_text("林晓在\n", encoding="utf-8")
    assert read("t.tsv", "text") == [Document("t.tsv:1", "林晓在")]
    Path("t.txt").write_text('["林晓在"]\n', encoding="utf-8")
    assert read("t.txt", "text") == [Document("t.txt:1", '["林晓在"]')]
    Path("t.txt").write_text("[微笑]林晓在\n[]\n", encoding="utf-8")
    assert [document.text for document in read("t.txt")] == ["[微笑]林晓在", "[]"]
    Path("t.json").write_text('"林晓在"\n{"text": "王五在", "id": null}\n', encoding="utf-8")
    assert [(d.id, d.text) for d in read("t.json")] == [("t.json:1", "林晓在"), ("t.json:2", "王五在")]


def test_a_file_name_need_not_be_utf_8(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    name = b"\xff.txt".decode("utf-8", "surrogateescape")
    Path(name).write_text("林晓在\n", encoding="utf-8")
    [document] = read(name)
    line(document, Recognized(document.text, ())).encode()


def valid(form: str, texts: list[str]) -> bytes:
    if form == "csv":
        file = io.StringIO()
        csv.writer(file).writerows([["n", "text"], *([str(n), text] for n, text in enumerate(texts))])
        return file.getvalue().encode()
    if form == "jsonl":
        return "".join(json.dumps({"n": n, "text": text}) + "\n" for n, text in enumerate(texts)).encode()
    return "".join(text + "\n" for text in texts).encode()


def broken(data: bytes, rng: random.Random) -> bytes:
    at, to = sorted(rng.randrange(len(data) + 1) for _ in range(2))
    odd = [
        b"\x00",
        b"\xff\xfe",
        b"\x1b[2J",
        b'"',
        b"\r",
        b"\xed\xa0\x80",
        b"[" * 3000,
        b"9" * 5000,
        b"1e999",
        b"\\ud800",
        b"NaN",
    ]
    return rng.choice(
        [
            data[:at],
            data[at:],
            data[:at] + rng.choice(odd) + data[at:],
            data[:at] + rng.choice(odd) + data[to:],
            data[:at] + rng.randbytes(5) + data[to:],
            rng.randbytes(rng.randrange(200)),
            data.decode().encode(rng.choice(["gb18030", "utf-16", "utf-32", "big5"]), "replace"),
        ]
    )


@pytest.mark.parametrize("count", [600, pytest.param(12_000, marks=pytest.mark.slow)])
def test_any_file_is_read_or_refused_in_one_line(tmp_path, monkeypatch, count) -> None:
    monkeypatch.chdir(tmp_path)
    seen: Counter[str] = Counter()
    for n in range(count):
        rng = random.Random(n)
        form = rng.choice(FORMATS)
        texts = rng.sample(TEXTS, rng.randrange(1, len(TEXTS)))
        if form == "text":
            texts = [text.replace("\n", " ") for text in texts]
        data = valid(form, texts)
        right = rng.random() < 0.2
        Path("t").write_bytes(data if right else broken(data, rng))
        try:
            found = read("t", form, whole=not right and rng.random() < 0.2)
            if right:
                assert [document.text for document in found] == [
                    text for text in texts if text.strip() or form != "text"
                ]
            for document in found:
                stored = line(document, Recognized(document.text, ())).encode()
                assert json.loads(stored)["text"] == document.text and b"\n" not in stored
            seen["read"] += 1
        except UserError as error:
            assert not right and str(error).isprintable() and len(str(error)) < 500, (n, str(error))
            seen["refused"] += 1
    assert sum(seen.values()) == count and min(seen["read"], seen["refused"]) > count / 10, seen
