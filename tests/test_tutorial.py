"""The commands of the tutorial, one after the other, as a reader runs them. Both languages have the same."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from reader import Reader, commands, copy_of_repository, data_of_the_tutorial


@pytest.fixture
def reader(tmp_path: Path) -> Iterator[Reader]:
    with Reader(copy_of_repository(tmp_path)) as reader:
        yield reader


def test_the_data_of_the_tutorial_are_annotated_described_divided_and_checked(reader: Reader) -> None:
    for code in data_of_the_tutorial():
        reader.run(code)
    said, folder = reader.said, reader.folder
    assert "200 records, 0 bad" in said
    assert "annotated/train: read 200, kept 200, rejected 0" in said
    parts = re.findall(r"data/raw/notes-split/(train|dev|test)\.jsonl: (\d+) records", said)
    assert sum(int(count) for _, count in parts) == 200 and [part for part, _ in parts] == ["train", "dev", "test"]
    assert "rare: 9." in said  # what the text says of it
    assert (folder / "data/gold/notes-split/check.html").is_file()
    assert (folder / "data/alpaca/notes-split_train.json").is_file()


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_the_tutorial_ends_with_a_service_that_finds_entities(reader: Reader) -> None:
    for code in commands("tutorial.md"):
        reader.run(code)
    scores = re.search(r"Micro Avg\. +[\d.]+ +[\d.]+ +([\d.]+)", reader.said)
    assert scores and float(scores[1]) > 0.3  # 0.56 when it was written; untrained 0.01
    assert (reader.folder / "runs/nano-lora-notes-split-test/report.html").is_file()
    (line,) = [text for text in reader.said.splitlines() if '"id": "texts.txt:1"' in text]
    answer, _ = json.JSONDecoder().raw_decode(reader.said[reader.said.index('{"model"') :])
    assert answer["model"] == "nano-lora-notes-split"
    (result,) = answer["results"]  # of the same text, from the same model
    assert result["entities"] is not None and result["entities"] == json.loads(line)["entities"]
