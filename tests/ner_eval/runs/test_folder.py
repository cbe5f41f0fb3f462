"""What happens to the folder that ``--run`` names: nothing of somebody else's is touched."""

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from faulty import Faulty
from ner_eval.runs.predictions import read_predictions

PREDICT = ("predict", "--model", "nano", "--corpus", "demo", "--wait", "0", "--limit", "4")


@pytest.fixture
def server() -> Iterator[Faulty]:
    with Faulty() as started:
        yield started


def listed(folder: Path) -> dict[str, tuple[bytes, int]]:
    return {
        str(path.relative_to(folder)): (path.read_bytes(), path.stat().st_mtime_ns)
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@pytest.mark.parametrize("others", [{"a.txt": "mine"}, {".notes.tmp": "mine"}, {"scores.json": "{}"}])
@pytest.mark.parametrize("batch", [False, True])
def test_a_folder_that_is_not_a_run_is_refused_and_untouched(work, ner_eval, server, others, batch) -> None:
    folder = work / "mine"
    folder.mkdir()
    for name, text in others.items():
        (folder / name).write_text(text)
    before = listed(folder)
    ended = ner_eval(*PREDICT, "--run", f"{folder}/", *(["--batch"] if batch else ["--base-url", server.base_url]))
    assert ended.code == 2 and len(ended.lines) == 1
    assert "is not a run (no manifest.json), and not empty" in ended.lines[0]
    assert listed(folder) == before and not server.asked


@pytest.mark.parametrize("name", [".", "..", "./", "../x/.."])
def test_a_folder_above_is_refused(work, ner_eval, server, name) -> None:
    (work / "runs/other").mkdir(parents=True)
    (work / "x").mkdir()
    before = sorted(work.rglob("*"))
    ended = ner_eval(*PREDICT, "--base-url", server.base_url, "--run", name)
    assert ended.code == 2 and len(ended.lines) == 1 and "is not a run" in ended.lines[0]
    assert sorted(work.rglob("*")) == before


def test_a_file_a_device_and_a_dangling_link_are_refused_and_stay(work, ner_eval, server) -> None:
    (work / "file").write_text("mine")
    (work / "link").symlink_to(work / "nowhere")
    for name in ("./file", "./link", "/dev/null"):
        ended = ner_eval(*PREDICT, "--base-url", server.base_url, "--run", name)
        assert ended.code == 2 and len(ended.lines) == 1 and "is not a folder" in ended.lines[0], ended.err
    assert (work / "file").read_text() == "mine" and (work / "link").is_symlink() and Path("/dev/null").exists()


def test_somebody_elses_manifest_is_refused_and_untouched(work, ner_eval, server) -> None:
    folder = work / "extension"
    folder.mkdir()
    (folder / "manifest.json").write_text('{"manifest_version": 3, "version": "1.0"}')
    (folder / ".manifest.json.1.tmp").write_text("mine")
    before = listed(folder)
    ended = ner_eval(*PREDICT, "--base-url", server.base_url, "--run", "./extension")
    assert ended.code == 2 and len(ended.lines) == 1 and listed(folder) == before


def test_an_empty_folder_or_a_link_to_one_is_used_and_stays_when_nothing_is_stored(work, ner_eval, server) -> None:
    (work / "empty").mkdir()
    (work / "link").symlink_to(work / "empty")
    for name in ("./empty", "./link"):
        assert ner_eval(*PREDICT, "--run", name, "--base-url", server.base_url, "--model", "other").code == 2
        assert (work / "empty").is_dir() and not list((work / "empty").iterdir())
    assert ner_eval(*PREDICT, "--base-url", server.base_url, "--run", "./link").code == 0
    assert len(read_predictions(work / "empty")) == 4 and (work / "link").is_symlink()


def test_only_our_own_leftovers_are_removed(work, ner_eval, server) -> None:
    arguments = (*PREDICT, "--base-url", server.base_url, "--run", "r")
    ner_eval(*arguments)
    run = Path("runs/r")
    (run / "predictions.jsonl").write_bytes((run / "predictions.jsonl").read_bytes()[:100])
    ours = [".predictions.jsonl.7.tmp", ".manifest.json.7.tmp", ".report.html.7.tmp"]
    theirs = [".mine.tmp", ".scores.json.8.tmp", ".vimrc.7.tmp", "predictions.jsonl.7.tmp"]
    for name in (*ours, *theirs):
        (run / name).write_text("x")
    os.utime(run / ours[-1], (time.time() - 7200,) * 2)
    assert ner_eval(*arguments).code == 0
    left = {path.name for path in run.iterdir()}
    assert left == {"manifest.json", "predictions.jsonl", *theirs}  # a report may be writing its scores


def test_a_run_killed_before_its_manifest_was_there_continues(work, ner_eval, server) -> None:
    run = Path("runs/r")
    run.mkdir(parents=True)
    (run / ".manifest.json.7.tmp").write_text("{")
    assert ner_eval(*PREDICT, "--base-url", server.base_url, "--run", "r").code == 0
    assert {path.name for path in run.iterdir()} == {"manifest.json", "predictions.jsonl"}
