"""Edited output files and manifests of `ner-eval extract --output`: continued if they are right, else refused."""

import json
import random
from collections import Counter
from pathlib import Path

import pytest

from ner_common.errors import UserError
from ner_eval.inference.documents import Document
from ner_eval.runs.output_file import Asked, open_output

OUT, BESIDE = Path("out.jsonl"), Path("out.jsonl.manifest.json")
ASKED = Asked("nano", "0123456789abcdef", "fedcba9876543210", "off", 64)
DOCUMENTS = [Document(f"a.txt:{n}", f"林{n:02}在") for n in range(6)]
ODD = [
    b"null",
    b"[]",
    b"-1",
    b"1e999",
    b"9" * 5000,
    b"[" * 5000,
    b'"\\ud800"',
    b"\x00",
    b"\xff",
    b"\n",
    b"",
    b'"',
    b"{",
]


def whole(lines: int) -> bytes:
    return b"".join(
        json.dumps(
            {"id": d.id, "text": d.text, "entities": None if n % 3 == 2 else [], "problems": []}, ensure_ascii=False
        ).encode()
        + b"\n"
        for n, d in enumerate(DOCUMENTS[:lines])
    )


def edited(data: bytes, rng: random.Random) -> bytes:
    at, to = sorted(rng.randrange(len(data) + 1) for _ in range(2))
    part = rng.choice(ODD)
    value = data.find(b": ", at) + 2
    end = (
        min(found for found in (data.find(mark, value) for mark in (b",", b"}", b"\n")) if found >= 0)
        if value > 1
        else at
    )
    return rng.choice(
        [data[:at], data[:at] + part + data[at:], data[:at] + part + data[to:], data[:value] + part + data[end:], part]
    )


@pytest.mark.parametrize("count", [400, pytest.param(8000, marks=pytest.mark.slow)])
def test_an_edited_output_file_is_never_misread(tmp_path, monkeypatch, count) -> None:
    monkeypatch.chdir(tmp_path)
    seen: Counter[str] = Counter()
    manifest = json.dumps({name: getattr(ASKED, name) for name in ASKED.__struct_fields__}, indent=2).encode()
    for n in range(count):
        rng = random.Random(n)
        lines = rng.randrange(7)
        data, beside = whole(lines), manifest
        which = rng.choice(["none", "file", "file", "manifest", "manifest"])
        data = edited(data, rng) if which == "file" and data else data
        beside = edited(beside, rng) if which == "manifest" else beside
        OUT.write_bytes(data)
        BESIDE.write_bytes(beside)
        try:
            with open_output(OUT, ASKED) as output:
                left = list(output.remaining(DOCUMENTS, set(output.refused)))
                kept = [line for line in data.splitlines(keepends=True) if line.endswith(b"\n")]
                assert output.lines == len(kept) and OUT.read_bytes() == b"".join(kept)
                new = [d for place, d in enumerate(DOCUMENTS) if place >= output.lines or place in output.refused]
                assert left == new
                for line, document in zip(kept, DOCUMENTS, strict=False):
                    value = json.loads(line)
                    assert (value["id"], value["text"]) == (document.id, document.text)
            seen["continued"] += 1
        except UserError as error:
            assert which != "none" and str(error).isprintable() and len(str(error)) < 500, (n, str(error))
            assert OUT.read_bytes() in (data, data[: data.rfind(b"\n") + 1])
            assert BESIDE.read_bytes() == beside or not data.count(b"\n")
            seen["refused"] += 1
    assert sum(seen.values()) == count and min(seen.values()) > count / 10, seen
