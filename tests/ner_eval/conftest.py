"""A small corpus in its own folder, `ner-eval` as a user calls it, and run folders made from answers."""

import hashlib
import json
import os
import pty
import random
import signal
import subprocess
import sys
import termios
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from ner_data.alpaca import build_spec, spec_file
from ner_data.corpus import load_corpus
from ner_data.formats import bio, cluener
from ner_data.gold import Entity, Record, write_gold
from ner_data.prompt import PromptSpec
from ner_eval.inference import client
from ner_eval.runs.manifest import Manifest, write_manifest
from ner_eval.runs.predictions import Prediction
from own_server import OwnServer
from raw_files import read
from support import ROOT, Result

MakeRun = Callable[..., Path]
NO_SELECTION: dict[str, object] = {"limit": None, "sample": None, "seed": None}


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


@pytest.fixture(scope="session")
def model_folder(server: Any) -> Path:
    """The folder of the shared server's base model."""
    with urllib.request.urlopen(f"{server.base_url}/models") as response:  # noqa: S310 - our own address
        cards = json.load(response)["data"]
    return ROOT / next(card["root"] for card in cards if not card["parent"])


@pytest.fixture(scope="module")
def own_server(model_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[OwnServer]:
    own = OwnServer(model_folder, tmp_path_factory.mktemp("own") / "vllm.log")
    own.start()
    try:
        own.wait()
        yield own
    finally:
        own.signal(signal.SIGCONT)
        own.stop()


@dataclass(frozen=True)
class Ended:
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def lines(self) -> list[str]:
        """The errors on stderr, without progress and notices."""
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
    """Start ``ner-eval ARGUMENTS`` as a separate process."""

    def call(
        *arguments: object, stdin: int | None = None, stdout: int = subprocess.PIPE, stderr: int = subprocess.PIPE
    ) -> subprocess.Popen[str]:
        path = os.pathsep.join([str(ROOT / "tools"), str(ROOT / "eval"), os.environ.get("PYTHONPATH", "")])
        return subprocess.Popen(
            [sys.executable, "-c", "from ner_eval.cli import entry_point; entry_point()", *map(str, arguments)],
            env={**os.environ, "PYTHONPATH": path},
            stdin=stdin,
            stdout=stdout,
            stderr=stderr,
            text=True,
        )

    return call


class Terminal:
    """A terminal of 100 columns to start a program on: ``file`` goes to the program, `read` returns what it showed."""

    def __init__(self) -> None:
        self._ours, self.file = pty.openpty()
        termios.tcsetwinsize(self.file, (25, 100))

    def read(self) -> str:
        """Everything shown until the program ends."""
        os.close(self.file)
        shown = b""
        # Linux signals the end of a terminal with an error.
        with suppress(OSError):
            while part := os.read(self._ours, 1 << 16):
                shown += part
        os.close(self._ours)
        return shown.decode().replace("\r\n", "\n")


@pytest.fixture
def terminal() -> Terminal:
    return Terminal()


@pytest.fixture
def make_run(tmp_path: Path) -> MakeRun:
    """Write gold, manifest and predictions; returns the run's folder. Answers: text, or (text, finish reason)."""

    def make(
        records: Sequence[Record],
        answers: dict[str, str | tuple[str, str]],
        labels: Sequence[str] = ("name", "company"),
        name: str = "run",
        selection: dict[str, object] | None = None,
    ) -> Path:
        gold = tmp_path / f"{name}-gold.jsonl"
        write_gold(gold, records)
        folder = tmp_path / name
        prompt = PromptSpec("demo", "系统", "抽取", tuple(labels), "json_list", 64)
        sha256 = hashlib.sha256(gold.read_bytes()).hexdigest()
        head = (1, f"model-{name}", ("http://127.0.0.1:1/v1",), "demo", "test", str(gold), sha256, prompt)
        write_manifest(folder, Manifest(*head, {"temperature": 0}, selection or NO_SELECTION, {}))
        with (folder / "predictions.jsonl").open("wb") as file:
            for identity, value in answers.items():
                answer, reason = (value, "stop") if isinstance(value, str) else value
                file.write(Prediction(identity, answer, reason, 1, 1, 0.1).as_line())
        return folder

    return make


@pytest.fixture(scope="session")
def real_corpus() -> Callable[[str], tuple[list[Record], tuple[str, ...]]]:
    """The real dev split of a corpus and its labels; skips if the files are not on this machine."""

    def load(name: str) -> tuple[list[Record], tuple[str, ...]]:
        file, module = {"cluener": ("dev.json", cluener), "tcm": ("medical_test.txt", bio)}[name]
        labels = tuple(yaml.safe_load((ROOT / f"data/corpora/{name}.yaml").read_text("utf-8"))["labels"])
        # REAL_CORPORA: for a checkout that is not next to the shared files.
        shared = Path(os.environ.get("REAL_CORPORA") or ROOT.parent / "shared/data")
        path = shared / name / file
        if not path.is_file():
            pytest.skip(f"absent: {path}")
        samples = read(module, path, True)
        return [Record(f"{name}-{n}", sample.text, sample.entities) for n, sample in enumerate(samples, 1)], labels

    return load


@pytest.fixture
def corrupt() -> Callable[..., str]:
    """An answer as a mediocre model would give it, with every kind of fault."""

    def answer(record: Record, labels: Sequence[str], rng: random.Random) -> str:
        mentions: list[Entity] = []
        for entity in record.gold:
            fate = rng.random()
            start, end, label = entity.start, entity.end, entity.label
            if fate < 0.1:
                continue
            if fate < 0.2:
                start, end = max(0, start - rng.randint(0, 2)), min(len(record.text), end + rng.randint(0, 2))
            elif fate < 0.3:
                label = rng.choice([*labels, "未知"])
            surface = record.text[start:end]
            if fate > 0.95:
                surface = surface + "〇"
            mentions += [Entity(start, end, label, surface)] * (2 if 0.3 < fate < 0.35 else 1)
        if rng.random() < 0.1:
            start = rng.randrange(len(record.text))
            mentions.append(Entity(start, start + 1, rng.choice(labels), record.text[start]))
        text = json.dumps([{"label": m.label, "text": m.text} for m in mentions], ensure_ascii=False)
        fate = rng.random()
        if fate < 0.03:
            return text[: rng.randrange(len(text))]
        if fate < 0.06:
            return f"```json\n{text}\n```"
        return "好的。" if fate < 0.07 else text

    return answer
