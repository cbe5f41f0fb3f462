"""The commands and the Python of the guides, page by page, as a reader runs them. Both languages have the same.

What a page takes for granted (an adapter, texts, somebody's corpus) is made first. Commands that start a server in the
foreground go on until the page ends.
"""

import json
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ner_docs import names
from reader import Reader, copy_of_repository, data_of_the_tutorial, examples
from support import ROOT

# What is run elsewhere, or nowhere: the first words of its block.
ELSEWHERE = {
    "make merge": "tests/ner_models/test_export_gguf.py, with a converter of its own",
    "make quantize": "tests/test_quantize.py, in an environment of its own",
    ".venv-train/bin/ner-model import-prefix": "tests/ner_models/chatglm3/test_import_prefix.py, on a checkpoint made for it",
}
# Words of commands that do not end with 0 here -> their exit code, and what they say.
OTHERWISE = {
    "--strict leakage,conflicts": (1, "leakage"),  # it finds some
    "--suspects": (2, "no likely annotation error"),  # in 20 sentences of a generated corpus
}
TEXTS = "林晓在云帆科技任职。\n海腾传媒宣布任命费舍尔·布朗为首席产品秘书。\n"


def pages() -> list[str]:
    """The pages with something to run here, without the tutorial, which has a test of its own."""
    return [name for name in names("en") if name != "tutorial.md" and run_here(name)]


def run_here(name: str) -> list[tuple[str, str]]:
    return [(kind, code) for kind, code in examples(name) if not code.startswith(tuple(ELSEWHERE))]


def test_python_of_a_page_runs_in_its_turn_and_asks_our_server(tmp_path: Path) -> None:
    assert [kind for kind, _ in run_here("how-to/service.md")] == ["bash", "bash", "python", "bash"]
    reader = Reader(copy_of_repository(tmp_path))
    reader.run('import ner_eval\n\nprint("http://127.0.0.1:8000/v1")', "python")
    assert reader.said == f"http://127.0.0.1:{reader.port}/v1\n"
    with pytest.raises(AssertionError, match="ZeroDivisionError"):
        reader.run("1 / 0", "python")


def test_what_is_run_elsewhere_is_there() -> None:
    found = [code for name in names("en") for _, code in examples(name)]
    for words, where in ELSEWHERE.items():
        assert any(code.startswith(words) for code in found), words
        for path in re.findall(r"tests/[\w/]+\.py", where):
            assert (ROOT / path).is_file(), path


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the repository in which nano was trained on demo by the shipped recipe."""
    folder: Path = copy_of_repository(tmp_path_factory.mktemp("trained"))
    Reader(folder).run("make data train MODEL=nano CORPUS=demo")
    return folder


@pytest.fixture
def reader(trained: Path, tmp_path: Path) -> Iterator[Reader]:
    folder = tmp_path / "copy"
    shutil.copytree(trained, folder, symlinks=True)
    (folder / "texts.txt").write_text(TEXTS, "utf-8")
    with Reader(folder, OTHERWISE) as reader:
        yield reader


def annotated(reader: Reader) -> None:
    """The contracts of the page on corpora."""
    reader.run(".venv/bin/ner-data export demo --format bio --output DIR")


def walked(reader: Reader) -> None:
    """What the tutorial made, its adapter aside; new texts; nobody corrects anything."""
    for code in data_of_the_tutorial():
        reader.run(code)
    shutil.copytree(reader.folder / "saves/nano/lora/demo", reader.folder / "saves/nano/lora/notes-split")
    gold = (reader.folder / "data/gold/demo/train.jsonl").read_text("utf-8").splitlines()[-150:]
    (reader.folder / "new.txt").write_text("".join(json.loads(line)["text"] + "\n" for line in gold), "utf-8")


def corrected(reader: Reader) -> None:
    (suggested,) = (reader.folder / "suggested").glob("*.jsonl")
    assert len(suggested.read_text("utf-8").splitlines()) == 100
    shutil.copy(suggested, reader.folder / "corrected.jsonl")


def published(reader: Reader) -> None:
    """The published corpora, and somebody's notes."""
    shared = ROOT.parent / "shared/data"
    if not shared.is_dir():
        pytest.skip("absent: the real corpora in ../shared/data")
    for name in ("cluener", "tcm"):
        reader.run(f"make data CORPUS={name} RAW={shared / name}")
    (reader.folder / "models").mkdir(exist_ok=True)
    (reader.folder / "models/qwen2.5-0.5b").symlink_to(ROOT / "data/nano")
    names = {"name": "人名", "company": "日期"}  # whatever it is, the page does without it
    notes = []
    for line in (reader.folder / "data/gold/demo/train.jsonl").read_text("utf-8").splitlines()[:200]:
        record = json.loads(line)
        spans = [[e["start"], e["end"], names[e["label"]]] for e in record["entities"] if e["label"] in names]
        notes.append(json.dumps({"text": record["text"], "label": spans}, ensure_ascii=False) + "\n")
    (reader.folder / "notes.jsonl").write_text("".join(notes), "utf-8")
    (reader.folder / "chatter.txt").write_text("今天天气不错。\n吃饭了吗？\n", "utf-8")
    reader.run(".venv/bin/ner-data init notes notes.jsonl")
    reader.run("make data CORPUS=notes RAW=.")


def keys(reader: Reader) -> None:
    (reader.folder / "keys.txt").write_text("key-one\n", "utf-8")


def downloaded(reader: Reader) -> None:
    raw = reader.folder / "data/raw/cluener"
    shutil.copytree(ROOT.parent / "shared/data/cluener", raw)


def served(reader: Reader) -> None:
    reader.run("make serve MODEL=nano CORPUS=demo")


def report(reader: Reader) -> None:
    (reader.folder / "report.txt").write_text(TEXTS * 20, "utf-8")


# What comes before a block of a page, by its number.
BEFORE: dict[tuple[str, int], Callable[[Reader], None]] = {
    ("how-to/corpora.md", 0): annotated,
    ("how-to/correction.md", 0): walked,
    ("how-to/correction.md", 2): corrected,
    ("how-to/data.md", 0): published,
    ("how-to/engines.md", 0): served,
    ("how-to/engines.md", 2): published,
    ("how-to/long-documents.md", 0): report,
    ("how-to/server.md", 1): served,
    ("how-to/service.md", 0): keys,
    ("reference/answer-forms.md", 0): downloaded,
}


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("name", pages())
def test_every_command_of_a_page_runs(reader: Reader, name: str) -> None:
    for number, (kind, code) in enumerate(run_here(name)):
        if before := BEFORE.get((name, number)):
            before(reader)
        reader.run(code, kind)
    assert reader.said and "Traceback" not in reader.said
