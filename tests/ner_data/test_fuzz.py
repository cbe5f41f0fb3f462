"""Raw files, corpus descriptions and gold that somebody damaged: read as they are meant, or refused in one line.

Each test counts its inputs; the slow runs try twenty times as many.
"""

import json
import random
import re
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from ner_common.errors import UserError, printable
from ner_data import convert, load_corpus, read_gold
from ner_data.alpaca import build_spec
from ner_data.formats import Sample, bio, cluener
from raw_files import read
from support import ROOT

QUICK, LONG = pytest.param(1, id="quick"), pytest.param(20, id="long", marks=pytest.mark.slow)
CHARACTERS = "林晓在云帆科技任经理，头晕目眩。0ABCxyz９Ａ\u3000 😀\u2028\u200b"
LABELS = ["name", "company", "临床表现"]
JUNK = [
    "\r", "\n", "\t", " ", "\x00", "\x1b[2J", "\ufeff", "\u2028", "\x85", "\\ud800", "\\udc00\\ud83d", '"', "\\", "{", "[", "]", "}", ",", ":",
    "null", "true", "-1", "0.0", "1e400", "NaN", "9" * 5000, "[" * 100, '{"a":' * 100, "O", "B-", "B-x", "I-name", "S-x", "0", "1", "12", "EU NNP ",
]  # fmt: skip


def sentence(chance: random.Random) -> tuple[str, list[tuple[int, int, str]]]:
    """A text and its spans, which do not overlap."""
    text = "".join(chance.choice(CHARACTERS) for _ in range(chance.randint(2, 12))).strip() or "甲"
    spans, at = [], 0
    while at < len(text) and chance.random() < 0.7:
        start = chance.randrange(at, len(text))
        at = chance.randint(start + 1, len(text))
        spans.append((start, at, chance.choice(LABELS)))
    return text, spans


def as_bio(text: str, spans: list[tuple[int, int, str]]) -> list[str]:
    tags = ["O"] * len(text)
    for start, end, label in spans:
        tags[start:end] = [f"B-{label}", *[f"I-{label}"] * (end - start - 1)]
    return [f"{char} {tag}" for char, tag in zip(text, tags, strict=True)]


def as_cluener(text: str, spans: list[tuple[int, int, str]]) -> str:
    labels: dict[str, dict[str, list[list[int]]]] = {}
    for start, end, label in spans:
        labels.setdefault(label, {}).setdefault(text[start:end], []).append([start, end - 1])
    return json.dumps({"text": text, "label": labels}, ensure_ascii=bool(spans))


def damaged(data: bytes, chance: random.Random) -> bytes:
    for _ in range(chance.randint(1, 3)):
        at = chance.randrange(len(data) + 1)
        until = at + chance.choice([0, 0, 1, 2, 9, 40])
        piece = chance.choice([b"", data[at:until] * 2, bytes([chance.randrange(256)]), chance.choice(JUNK).encode()])
        data = data[:at] + piece + data[until:]
    return data


def read_all(format: ModuleType, path: Path, data: bytes, gold: bool) -> list[Sample] | None:
    """The sentences of a file; None if it was refused, in one line."""
    path.write_bytes(data)
    try:
        return list(read(format, path, gold))
    except UserError as error:
        assert "\n" not in str(error) and path.name in str(error)
        return None


def check(samples: list[Sample]) -> None:
    """What is kept can be stored and has its mentions where they are; what is not has one line of words."""
    for sample in samples:
        if sample.problem:
            assert all(part and part.isprintable() for part in sample.problem)
            continue
        assert sample.text
        sample.text.encode()
        for entity in sample.entities or ():
            assert 0 <= entity.start < entity.end and sample.text[entity.start : entity.end] == entity.text


# A line that has one reading: a first column without white space (or one character), one separator, one tag.
PLAIN = re.compile(
    r"(?P<token>[^\s\ufeff]+|[^\n\r\ufeff])[ \t](?P<tag>[Oo]|[BIbi][-_][^ \t\r\n]+|[^ \t\r\n]+[-_][BI])", re.DOTALL
)


@pytest.mark.parametrize("times", [QUICK, LONG])
def test_damaged_bio_is_read_as_it_is_written_or_refused(tmp_path: Path, times: int) -> None:
    chance, tried, kept = random.Random(1), 0, 0
    for _ in range(700 * times):
        rows = [as_bio(*sentence(chance)) for _ in range(3)]
        data = damaged("\n\n".join("\n".join(lines) for lines in rows).encode(), chance)
        samples = read_all(bio, tmp_path / "a.txt", data, gold=True)
        tried += 1
        if samples is None:
            continue
        check(samples)
        lines = data.decode("utf-8-sig").split("\n")
        for sample in samples:
            if sample.problem is None:
                kept += 1
                found = [PLAIN.fullmatch(line.removesuffix("\r")) for line in lines[sample.line - 1 :]]
                until = found.index(None) if None in found else len(found)
                assert sample.text == "".join(match["token"] for match in found[:until] if match)
    assert tried == 700 * times and kept > 500 * times


def positions(rows: list[str]) -> list[str]:
    return [f"{row[0]}{number}{row[1:]}" for number, row in enumerate(rows)]


# Whole files in another layout: each would be read as a text that nobody wrote.
LAYOUTS: dict[str, Callable[[list[str]], str]] = {
    "CR": lambda rows: "\r".join(rows) + "\r",
    "CR CR LF": lambda rows: "\r\r\n".join(rows) + "\r\r\n",
    "positions": lambda rows: "\n".join(positions(rows)) + "\n",
    "positions of words": lambda rows: "\n".join(
        row for n in range(0, len(rows), 3) for row in positions(rows[n : n + 3])
    ),
    "four columns": lambda rows: "\n".join(f"{row[0]} NN B-NP{row[1:]}" for row in rows),
    "a column after the tag": lambda rows: "\n".join(f"{row}\tO" for row in rows),
    "tag first": lambda rows: "\n".join(f"{row[2:]} {row[0]}" for row in rows),
    "all on one line": lambda rows: " ".join(rows),
    "two on a line": lambda rows: "\n".join(map(" ".join, zip(rows[::2], rows[1::2], strict=False))),
    "space and tab": lambda rows: "\n".join(f"{row[0]} \t{row[2:]}" for row in rows),
    "indented": lambda rows: "\n".join(f"  {row}" for row in rows),
    "line separators": lambda rows: "\u2028".join(rows),
    "a byte-order mark per line": lambda rows: "\n".join(f"\ufeff{row}" for row in rows),
    "Latin words": lambda rows: "\n".join(f"word{row[1:]}" for row in rows),
    "slashes": lambda rows: "\n".join(row.replace(" ", "/") for row in rows),
    "UTF-16": lambda rows: "\n".join(rows).encode("utf-16-le").decode("latin-1"),
}


@pytest.mark.parametrize("times", [QUICK, LONG])
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("gold", [True, False])
def test_bio_in_another_layout_is_refused(tmp_path: Path, layout: str, gold: bool, times: int) -> None:
    chance, refused = random.Random(layout), 0
    for _ in range(15 * times):
        text, spans = sentence(chance)
        text = "".join(char for char in text if not char.isspace() and char not in "\u200b") + "甲乙"
        spans = [(0, len(text), "name")] if gold else []
        data = LAYOUTS[layout](as_bio(text, spans)).encode()
        samples = read_all(bio, tmp_path / "a.txt", data, gold)
        check(samples or [])
        assert [sample.text for sample in samples or [] if sample.problem is None] == []
        refused += 1
    assert refused == 15 * times


@pytest.mark.parametrize("times", [QUICK, LONG])
def test_damaged_cluener_is_read_as_it_is_written_or_refused(tmp_path: Path, times: int) -> None:
    chance, tried, kept = random.Random(2), 0, 0
    for _ in range(700 * times):
        lines = [as_cluener(*sentence(chance)) for _ in range(3)]
        gold = chance.random() < 0.8
        samples = read_all(cluener, tmp_path / "a.json", damaged("\n".join(lines).encode(), chance), gold)
        tried += 1
        check(samples or [])
        written = (tmp_path / "a.json").read_bytes().decode("utf-8-sig", "replace").split("\n")
        for sample in samples or []:
            if sample.problem is None:
                kept += 1
                value = json.loads(written[sample.line - 1])
                labels = value.get("label", {}) if gold else {}
                places = {
                    (label, *place) for label, found in labels.items() for some in found.values() for place in some
                }
                assert sample.text == value["text"]
                assert len(sample.entities or ()) == len(places)
    assert tried == 700 * times and kept > 500 * times


@pytest.mark.parametrize("times", [QUICK, LONG])
def test_damaged_raw_files_are_converted_or_refused_in_lines(
    workplace: Path, raw: Callable[..., Path], times: int
) -> None:
    chance = random.Random(3)
    for number in range(150 * times):
        corpus = chance.choice(["demo", "tcm"])
        if corpus == "demo":
            data = "\n".join(as_cluener(*sentence(chance)).replace("临床表现", "game") for _ in range(4))
        else:
            data = "\n\n".join("\n".join(as_bio(*sentence(chance))) for _ in range(4)).replace("name", "中药")
        folder = raw(corpus, train=damaged(data.encode(), chance))
        try:
            splits = convert(corpus, raw=folder, skip_bad=number % 2 == 0)
        except UserError as error:
            assert all(len(line) < 400 for line in str(error).splitlines())
            continue
        records = list(read_gold(Path(f"data/gold/{corpus}/train.jsonl")))
        assert splits["train"].kept == len(records)
        assert 2 * splits["train"].rejected.total() <= splits["train"].read
        assert any(record.entities for record in records)


ODD_YAML = [
    "", "~", "5", "1.5", ".inf", "1" * 5000, "true", "no", "2024-02-30", "2024-01-01 00:00:60", "[]", "{}", "[1, 2]", "{a: {b: c}}", "&a [*a]",
    "*missing", "!!python/object/apply:os.system [id]", "!!binary x", "!!set {a}", '"\\0"', '"\\e[2J"', '"a\\nb"', '"\\u2028"', "../../x", "/etc/passwd",
    "..", ".", "a/../../b", "ftp://x/a", "http://", "file:///x", "<|im_end|>", "[" * 200, "{a: " * 200, "? x", "- a\n- b", "'unclosed", "\t", "%", "@x",
    "x" * 3000, "\ufffe", "姓名", "name", "0x10", "1_000", "1:30", "=", "<<",
]  # fmt: skip


@pytest.mark.parametrize("times", [QUICK, LONG])
def test_edited_corpus_descriptions_are_valid_or_refused_in_lines(workplace: Path, times: int) -> None:
    chance, tried, accepted = random.Random(4), 0, 0
    path = Path("data/corpora/cluener.yaml")
    original = (ROOT / path).read_text("utf-8")
    values = [match.span(1) for match in re.finditer(r"(?:: +|^ *)([^\s{},:][^\n{},]*)", original, re.MULTILINE)]
    for number in range(400 * times):
        start, end = chance.choice(values)
        text = original[:start] + ODD_YAML[number % len(ODD_YAML)] + original[end:]
        data = text.encode("utf-8") if number % 3 else damaged(text.encode("utf-8"), chance)
        path.write_bytes(data)
        tried += 1
        try:
            corpus = load_corpus("cluener")
        except UserError as error:
            assert all("cluener.yaml" in line or line.startswith("... and") for line in str(error).splitlines())
            continue
        accepted += 1
        assert all(isinstance(value, str) for value in (corpus.title, corpus.source, corpus.licence))
        for split in corpus.splits.values():
            assert (Path("/raw") / split.file).resolve().is_relative_to("/raw")
            assert all(url.startswith(("http://", "https://")) for url in split.urls)
        for label in corpus.labels:
            assert all(printable(text) == text.strip() != "" for text in (label.id, label.name))
        spec = build_spec(corpus, list(read_gold(ROOT / "tests/previous/gold.jsonl")), "json_list")
        assert spec.instruction.count("\n") == 4
    assert tried == 400 * times and accepted > 20 * times


ODD_JSON: list[Any] = [
    None, True, False, 0, -1, 1.0, 0.5, 1e308, "0", "", "x", "\ud800", "甲\u2028", [], {}, [0], [[0, 1, 2]], {"a": 1}, 2**70, "x" * 3000,
]  # fmt: skip


def edited(value: Any, chance: random.Random) -> Any:
    """A JSON value with one thing replaced, removed or added somewhere."""
    if isinstance(value, dict) and value and chance.random() < 0.8:
        key = chance.choice(list(value))
        action = chance.random()
        if action < 0.15:
            return {k: v for k, v in value.items() if k != key}
        if action < 0.25:
            return {**value, chance.choice(["extra", "lable", ""]): chance.choice(ODD_JSON)}
        return {**value, key: edited(value[key], chance)}
    if isinstance(value, list) and value and chance.random() < 0.8:
        at = chance.randrange(len(value))
        return [*value[:at], edited(value[at], chance), *value[at + 1 :]]
    return chance.choice(ODD_JSON)


@pytest.mark.parametrize("times", [QUICK, LONG])
def test_edited_gold_is_what_it_says_or_refused_in_one_line(tmp_path: Path, times: int) -> None:
    chance, tried, accepted = random.Random(5), 0, 0
    lines = (ROOT / "tests/previous/gold.jsonl").read_text("utf-8").splitlines()
    path = tmp_path / "gold.jsonl"
    for number in range(500 * times):
        at = chance.randrange(len(lines))
        text = json.dumps(edited(json.loads(lines[at]), chance))
        text = text.replace("1e+308", "9" * 5000) if chance.random() < 0.5 else text
        data = "\n".join([*lines[:at], text, *lines[at + 1 :]]).encode()
        path.write_bytes(data if number % 3 else damaged(data, chance))
        tried += 1
        try:
            records = list(read_gold(path))
        except UserError as error:
            assert "\n" not in str(error) and re.match(r".*gold\.jsonl(:\d+)?: ", str(error))
            assert len(str(error)) < 500
            continue
        accepted += 1
        for record in records:
            assert type(record.id) is str and type(record.text) is str
            for entity in record.entities or ():
                assert type(entity.start) is type(entity.end) is int and type(entity.label) is str
                assert record.text[entity.start : entity.end] == entity.text != ""
    assert tried == 500 * times and accepted > 20 * times
