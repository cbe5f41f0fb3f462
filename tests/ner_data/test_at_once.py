"""Commands that run at once or are killed: no entry of the registry is lost, and every file is whole."""

import json
import random
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from ner_common.errors import UserError
from ner_common.files import locked
from ner_data import alpaca, convert, fetch

ALPACA = Path("data/alpaca")
CORPORA = ["c1", "c2", "c3", "c4"]


@pytest.fixture
def corpora(workplace: Path, raw: Callable[..., Path]) -> None:
    """Four corpora with gold, ready for `ner-data alpaca`."""
    demo = Path("data/corpora/demo.yaml").read_text("utf-8")
    raw()
    for name in CORPORA:
        Path(f"data/corpora/{name}.yaml").write_text(demo.replace("name: demo", f"name: {name}", 1), "utf-8")
        convert(name, raw=Path("raw"))


def python(code: str, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, "-c", code, *arguments], stdout=subprocess.PIPE, text=True)


READY = (
    "import sys; from ner_data import alpaca; print('ready', flush=True); sys.stdin.readline(); alpaca(sys.argv[1])"
)


@pytest.mark.parametrize("rounds", [2, pytest.param(20, marks=pytest.mark.slow)])
def test_no_entry_is_lost_when_several_corpora_are_written_at_once(corpora: None, rounds: int) -> None:
    for _ in range(rounds):
        (ALPACA / "dataset_info.json").unlink(missing_ok=True)
        command = [sys.executable, "-c", READY]
        pipe = subprocess.PIPE
        running = [subprocess.Popen([*command, name], stdin=pipe, stdout=pipe, text=True) for name in CORPORA]
        for process in running:
            assert process.stdout and process.stdout.readline() == "ready\n"
        for process in running:
            assert process.stdin
            process.stdin.write("go\n")
            process.stdin.flush()
        assert [process.wait(60) for process in running] == [0] * len(CORPORA)
        entries = json.loads((ALPACA / "dataset_info.json").read_text())
        assert set(entries) == {f"{name}_{split}" for name in CORPORA for split in ("train", "dev", "test")}


# Writes two versions in turn, for ever: with two names of a label.
ENDLESS = """
from pathlib import Path
from ner_data import alpaca
path = Path("data/corpora/c1.yaml")
first = path.read_text("utf-8")
print("ready", flush=True)
while True:
    for text in (first, first.replace("姓名", "人名")):
        path.write_text(text, "utf-8")
        alpaca("c1")
"""


@pytest.mark.parametrize("kills", [6, pytest.param(50, marks=pytest.mark.slow)])
def test_a_killed_command_leaves_whole_files_and_the_other_entries(corpora: None, kills: int) -> None:
    chance, versions = random.Random(7), []
    path = Path("data/corpora/c1.yaml")
    first = path.read_text("utf-8")
    for text in (first, first.replace("姓名", "人名")):
        path.write_text(text, "utf-8")
        alpaca("c1")
        versions.append({file.name: file.read_bytes() for file in ALPACA.glob("c1*")})
    registry = json.loads((ALPACA / "dataset_info.json").read_text())
    (ALPACA / "dataset_info.json").write_text(json.dumps({**registry, "mine": {"file_name": "mine.json"}}))
    for _ in range(kills):
        path.write_text(first, "utf-8")
        process = python(ENDLESS)
        assert process.stdout and process.stdout.readline() == "ready\n"
        time.sleep(chance.uniform(0, 0.2))
        process.kill()
        process.wait()
        for file in ALPACA.glob("[!.]*"):
            if file.name == "dataset_info.json":
                entries = json.loads(file.read_text())
                assert {name: entries[name] for name in registry} == registry and "mine" in entries
            else:
                assert file.read_bytes() in [version[file.name] for version in versions]
    path.write_text(first, "utf-8")
    alpaca("c1")
    assert {file.name: file.read_bytes() for file in ALPACA.glob("c1*")} == versions[0]
    assert not list(ALPACA.glob(".*"))  # what the killed commands left


def test_a_second_fetch_of_a_corpus_is_refused_while_the_first_is_at_work(workplace: Path) -> None:
    folder = Path("data/raw/tcm")
    folder.mkdir(parents=True)
    with locked(folder, "busy"), pytest.raises(UserError, match="another `ner-data fetch` is at work there"):
        fetch("tcm")


@pytest.mark.parametrize("command", ["convert", "alpaca"])
def test_a_command_waits_for_another_that_writes_the_same_folder(corpora: None, command: str) -> None:
    folder = Path("data/gold/c1") if command == "convert" else ALPACA
    folder.mkdir(exist_ok=True)
    for file in folder.iterdir():
        file.unlink()
    run = {"convert": lambda: convert("c1", raw=Path("raw")), "alpaca": lambda: alpaca("c1")}[command]
    thread = threading.Thread(target=run)
    with locked(folder, "busy"):
        thread.start()
        thread.join(0.3)
        assert thread.is_alive() and not list(folder.iterdir())
    thread.join(10)
    assert not thread.is_alive() and len(list(folder.iterdir())) == (3 if command == "convert" else 5)


def test_alpaca_reads_the_gold_of_one_conversion(corpora: None) -> None:
    thread = threading.Thread(target=alpaca, args=("c1",))
    with locked(Path("data/gold/c1"), "busy"):
        thread.start()
        thread.join(0.3)
        assert thread.is_alive() and not ALPACA.exists()
    thread.join(10)
    assert (ALPACA / "c1_train.json").is_file()
