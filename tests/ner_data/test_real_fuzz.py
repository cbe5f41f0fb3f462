"""Slices of the real corpora with bytes flipped and lines cut, doubled, swapped or lost: all of it counted, or one error."""

import json
import random
import re
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from ner_common.errors import UserError, UserErrors
from ner_data import convert, read_gold

QUICK, LONG = pytest.param(1, id="quick"), pytest.param(20, id="long", marks=pytest.mark.slow)
RESUME = """{name: resume, title: ResumeNER, source: shared, licence: none, format: bmes,
labels: {CONT: {name: a}, EDU: {name: b}, LOC: {name: c}, NAME: {name: d}, ORG: {name: e}, PRO: {name: f},
RACE: {name: g}, TITLE: {name: h}}}"""
FILES = {"cluener": "train.json", "tcm": "medical_train.txt", "resume": "train.char.bmes"}
Change = Callable[[list[bytes], random.Random], None]


def flip(lines: list[bytes], chance: random.Random) -> None:
    at = chance.randrange(len(lines))
    data = bytearray(lines[at] or b"\n")
    data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
    lines[at] = bytes(data)


def cut(lines: list[bytes], chance: random.Random) -> None:
    at = chance.randrange(len(lines))
    lines[at] = lines[at][: chance.randrange(len(lines[at]) + 1)]


def double(lines: list[bytes], chance: random.Random) -> None:
    at = chance.randrange(len(lines))
    lines.insert(at, lines[at])


def swap(lines: list[bytes], chance: random.Random) -> None:
    one, other = chance.randrange(len(lines)), chance.randrange(len(lines))
    lines[one], lines[other] = lines[other], lines[one]


def lose(lines: list[bytes], chance: random.Random) -> None:
    del lines[chance.randrange(len(lines))]


CHANGES: list[Change] = [flip, cut, double, swap, lose]


def there(corpus: str, data: bytes) -> int:
    """How many records a file has, counted without a reader: lines with text, or blocks of them."""
    lines = [line.removesuffix("\r") for line in data.decode().split("\n")]
    if corpus == "cluener":
        return sum(bool(line.strip()) for line in lines)
    return len(re.findall("x+", "".join("x" if line.strip(" \t") else " " for line in lines)))


def describe(corpus: str) -> None:
    """The description of a corpus with its train split alone."""
    path = Path(f"data/corpora/{corpus}.yaml")
    described = yaml.safe_load(path.read_text("utf-8") if path.exists() else RESUME)
    described["splits"] = {"train": {"file": FILES[corpus]}}
    path.write_text(yaml.safe_dump(described, allow_unicode=True), "utf-8")


@pytest.mark.parametrize("times", [QUICK, LONG])
@pytest.mark.parametrize("corpus", FILES)
def test_damaged_slices_of_real_files_are_counted_or_refused(
    workplace: Path, shared: Path, corpus: str, times: int
) -> None:
    describe(corpus)
    chance, converted, rejected, refused = random.Random(corpus), 0, 0, 0
    original = (shared / "data" / corpus / FILES[corpus]).read_bytes().split(b"\n")
    for number in range(50 * times):
        start = chance.randrange(len(original) - 400)
        lines = original[start : start + (20 if corpus == "cluener" else 400)]
        for _ in range(number % 6):  # none: as it is
            chance.choice(CHANGES)(lines, chance)
        data = b"\n".join(lines)
        Path(FILES[corpus]).write_bytes(data)
        skip = number % 4 != 0
        try:
            found = convert(corpus, raw=Path(), skip_bad=skip)["train"]
        except UserError as error:
            refused += 1
            messages = str(error).splitlines()
            assert number % 6 or corpus != "cluener", messages  # a slice of a tagged file may start inside a mention
            assert all(len(line) < 500 and line.isprintable() for line in messages)
            assert len(messages) == 1 or (isinstance(error, UserErrors) and not skip)
            assert FILES[corpus] in messages[0]
            continue
        converted += 1
        rejected += found.rejected.total()
        records = list(read_gold(Path(f"data/gold/{corpus}/train.jsonl")))
        assert found.read == found.kept + found.rejected.total() == there(corpus, data)
        assert (found.kept, found.mentions.total()) == (len(records), sum(len(record.gold) for record in records))
        lines_of = [data.decode().split("\n")[int(record.source.partition(":")[2]) - 1] for record in records]
        for record, line in zip(records, lines_of, strict=True):
            assert record.text == json.loads(line)["text"] if corpus == "cluener" else record.text[0] == line[0]
    assert converted > 20 * times and rejected > 3 * times and refused > 3 * times, (converted, rejected, refused)
