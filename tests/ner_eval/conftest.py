"""A small corpus in a folder of its own, and `ner-eval` as a user calls it."""

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from ner_data.alpaca import build_spec, spec_file
from ner_data.corpus import load_corpus
from ner_data.gold import Entity, Record, write_gold
from ner_eval import client
from support import ROOT, Result


@pytest.fixture
def work(workplace: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder: corpus `demo` with 40 test records of our own, its prompt spec, no runs."""
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    corpus = load_corpus("demo")
    records = [
        Record(f"demo-test-{n}", f"林{n:02}在云帆科技任经理", (Entity(0, 3, "name", f"林{n:02}"),)) for n in range(40)
    ]
    write_gold(corpus.gold_file("test"), records)
    build_spec(corpus, records, "json_list").save(spec_file("demo"))
    return workplace


@dataclass(frozen=True)
class Ended:
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def lines(self) -> list[str]:
        """What the program wrote on stderr as errors, beside progress and notices."""
        return [line for line in self.err.splitlines() if line.startswith("ner-eval: ")]


@pytest.fixture
def ner_eval(cli: Callable[..., Result], monkeypatch: pytest.MonkeyPatch) -> Callable[..., Ended]:
    """Call ``ner-eval ARGUMENTS`` in this process, with retries a hundred times as fast as for users."""
    monkeypatch.setattr(client, "FIRST_DELAY", 0.005)
    monkeypatch.setattr(client, "LONGEST_DELAY", 0.3)

    def call(*arguments: object) -> Ended:
        ended = Ended(*cli("ner-eval", *arguments))
        assert "Traceback" not in ended.err
        return ended

    return call


@pytest.fixture
def start() -> Callable[..., subprocess.Popen[str]]:
    """Start ``ner-eval ARGUMENTS`` as a process of its own."""

    def call(*arguments: object, stdin: int | None = None) -> subprocess.Popen[str]:
        path = os.pathsep.join([str(ROOT / "tools"), str(ROOT / "eval"), os.environ.get("PYTHONPATH", "")])
        return subprocess.Popen(
            [sys.executable, "-c", "from ner_eval.cli import entry_point; entry_point()", *map(str, arguments)],
            env={**os.environ, "PYTHONPATH": path},
            stdin=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    return call
