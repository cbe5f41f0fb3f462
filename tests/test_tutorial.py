"""The commands of the tutorial, one after the other, as a reader runs them. Both languages have the same."""

import itertools
import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from make_support import OURS, link, link_environments
from support import ROOT, free_port
from test_readme import blocks, read

TRAINING = "make train"  # what comes before it is about data only


def copy_of_repository(folder: Path) -> Path:
    """A copy of the repository with everything built, in which corpora may be described."""
    link(folder, "Makefile", "pyproject.toml", "requirements", "recipes", "data/nano")
    shutil.copytree(ROOT / "data/corpora", folder / "data/corpora")
    link_environments(folder)
    return folder


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    return copy_of_repository(tmp_path)


def steps() -> list[str]:
    """The blocks of commands that need no GPU."""
    found = [code for kind, code in blocks(read("docs/en/tutorial.md")) if kind == "bash"]
    return [code for code in found if not code.startswith("# needs a GPU")]


def run(code: str, folder: Path, port: int) -> str:
    """Run a block as a shell does, on a port of its own; returns what it printed."""
    code = code.replace("extract texts.txt", f"extract texts.txt --base-url http://127.0.0.1:{port}/v1")
    environment = {name: value for name, value in os.environ.items() if name not in OURS} | {"PORT": str(port)}
    command = ["bash", "-euo", "pipefail", "-c", code]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, f"{code}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}"
    return done.stdout + done.stderr


def test_the_data_of_the_tutorial_are_annotated_described_divided_and_checked(copy: Path) -> None:
    data = itertools.takewhile(lambda code: not code.startswith(TRAINING), steps())
    said = "".join(run(code, copy, 0) for code in data)
    assert "200 records, 0 bad" in said
    assert "annotated/train: read 200, kept 200, rejected 0" in said
    parts = re.findall(r"data/raw/notes-split/(train|dev|test)\.jsonl: (\d+) records", said)
    assert sum(int(count) for _, count in parts) == 200 and [part for part, _ in parts] == ["train", "dev", "test"]
    assert "rare: 9." in said  # what the text says of it
    assert (copy / "data/gold/notes-split/check.html").is_file()
    assert (copy / "data/alpaca/notes-split_train.json").is_file()


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_the_tutorial_ends_with_a_service_that_finds_entities(copy: Path) -> None:
    port = free_port()
    try:
        said = [run(code, copy, port) for code in steps()]
    finally:
        run("make stop", copy, port)
    scores = re.search(r"Micro Avg\. +[\d.]+ +[\d.]+ +([\d.]+)", "".join(said))
    assert scores and float(scores[1]) > 0.3  # 0.56 when it was written; untrained 0.01
    assert (copy / "runs/nano-lora-notes-split-test/report.html").is_file()
    (line,) = [text for text in "".join(said).splitlines() if '"id": "texts.txt:1"' in text]
    assert json.loads(line)["entities"] is not None
