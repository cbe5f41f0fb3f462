"""`ner-eval extract --output`: what is not ours stays as it is; kills, full disks and other processes lose nothing."""

import asyncio
import json
import os
import random
import socket
import stat
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from faulty import Faulty, failure, slow
from output_support import BESIDE, OUT, TEXTS, extract, refusing, stored


@pytest.fixture
def texts(work: Path) -> None:
    Path("a.txt").write_text("\n".join(TEXTS), encoding="utf-8")


# --- nothing but regular files of our own is touched ------------------------------------------------------------------


def node(kind: str, path: Path) -> None:
    """Something at ``path`` that is not a regular file; a device node is our own."""
    if kind == "device":
        try:
            os.mknod(path, 0o600 | stat.S_IFCHR, os.makedev(1, 3))  # as the null device
        except PermissionError:
            pytest.skip("absent: the right to make device nodes")
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind == "socket":
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(str(path))
    elif kind == "folder":
        path.mkdir()
    else:
        target = {"symbolic link": "empty.txt", "dangling symbolic link": "missing.txt"}[kind]
        Path("empty.txt").touch()
        path.symlink_to(target)


@pytest.mark.parametrize("fails", [True, False])
@pytest.mark.parametrize("kind", ["device", "pipe", "socket", "folder", "symbolic link", "dangling symbolic link"])
@pytest.mark.parametrize("which", [OUT, BESIDE])
def test_what_is_not_a_regular_file_is_refused_and_left_alone(texts, ner_eval, which, kind, fails) -> None:
    node(kind, which)
    if fails:
        Path("a.txt").write_bytes("王五".encode("gbk"))
    before = which.lstat()
    with Faulty() as server:
        ended = ner_eval(*extract(server))
        assert not server.asked
    assert ended.code == 2 and len(ended.lines) == 1, ended.err
    assert f"{which}: is a {kind.removeprefix('dangling ')}; " in ended.lines[0]
    after = which.lstat()
    assert (after.st_ino, after.st_mode, after.st_size, after.st_rdev) == (
        before.st_ino, before.st_mode, before.st_size, before.st_rdev,
    )  # fmt: skip
    assert not Path("missing.txt").exists() and {OUT, BESIDE} - {which} == {
        p for p in (OUT, BESIDE) if not os.path.lexists(p)
    }


def test_standard_output_as_a_file_is_refused_with_the_remedy(texts, ner_eval) -> None:
    with Faulty() as server:
        ended = ner_eval(*extract(server, output="/dev/stdout"))
    assert (
        ended.code == 2 and "/dev/stdout: is a symbolic link; leave --output out to print the lines" in ended.lines[0]
    )


@pytest.mark.parametrize("content", ['{"name": "my extension"}', '{"model": "nano"}', "[]", "notes", ""])
@pytest.mark.parametrize("exists", [True, False])
def test_a_strangers_manifest_is_not_overwritten(texts, ner_eval, content, exists) -> None:
    BESIDE.write_text(content)
    if exists:
        OUT.touch()
    with Faulty() as server:
        ended = ner_eval(*extract(server))
        assert not server.asked
    assert ended.code == 2 and len(ended.lines) == 1 and "out.jsonl.manifest.json" in ended.lines[0]
    assert BESIDE.read_text() == content and OUT.exists() == exists


def test_an_empty_file_of_a_stranger_survives_a_failure(texts, ner_eval) -> None:
    OUT.touch()
    Path("a.txt").write_bytes("王五".encode("gbk"))
    with Faulty() as server:
        assert ner_eval(*extract(server)).code == 2
    assert OUT.exists() and not OUT.stat().st_size and not BESIDE.exists()


def test_text_without_a_line_of_ours_is_not_cut_off(texts, ner_eval) -> None:
    with Faulty() as server:
        assert ner_eval(*extract(server)).code == 0
        OUT.write_text("notes without a newline")
        ended = ner_eval(*extract(server))
    assert ended.code == 2 and "does not end with a line of ours" in ended.lines[0]
    assert OUT.read_text() == "notes without a newline"


def test_a_table_is_not_a_name_for_json_lines(texts, ner_eval) -> None:
    with Faulty() as server:
        ended = ner_eval(*extract(server, output="out.csv"))
    assert ended.code == 2 and "out.csv: the output is JSON lines, not .csv" in ended.lines[0]
    assert not Path("out.csv").exists()


@pytest.mark.parametrize("name", [".", "", ".."])
def test_a_folder_is_not_a_name_for_the_output(texts, ner_eval, name) -> None:
    with Faulty() as server:
        ended = ner_eval(*extract(server, output=name))
    assert ended.code == 2 and "is a folder" in ended.lines[0] and len(ended.lines) == 1


# --- at any time ------------------------------------------------------------------------------------------------------

OFTEN = """
import ner_eval.runs.output_file as output_file
output_file.REPLACE = 0.1  # rewrite the file often, to be killed while doing so
from ner_eval.cli import entry_point
entry_point()
"""


def checked(before: list[dict[str, Any]], asked: list[str]) -> list[dict[str, Any]]:
    """The lines after a kill: those before it, none lost, none again unanswered, in the order of the input."""
    data = OUT.read_bytes() if OUT.exists() else b""
    lines = [json.loads(line) for line in data.splitlines(keepends=True) if line.endswith(b"\n")]
    assert [line["text"] for line in lines] == [f"林{n:03}在" for n in range(len(lines))]
    assert len(lines) >= len(before)
    assert all(new == old for new, old in zip(lines, before, strict=False) if old["entities"])
    assert not {line["text"] for line in before if line["entities"]} & set(asked)
    return lines


@pytest.mark.parametrize("kills", [6, pytest.param(50, marks=pytest.mark.slow)])
def test_kill_9_loses_nothing_with_and_without_a_retry(work, ner_eval, kills) -> None:
    Path("a.txt").write_text("\n".join(f"林{n:03}在" for n in range(300)), encoding="utf-8")
    rng = random.Random(kills)

    async def some_refused(server: Faulty, body: dict[str, Any]) -> web.StreamResponse | None:
        await asyncio.sleep(rng.uniform(0.02, 0.1))
        return failure(400, "no") if rng.random() < refused else None

    done = retries = 0
    lines: list[dict[str, Any]] = []
    refused = 0.5
    with Faulty(some_refused) as server:
        while done < kills:
            if len(lines) == 300 and all(line["entities"] for line in lines):
                OUT.unlink()
                lines = []
            retry = ("--retry-refused",) if done % 3 else ()
            before = len(server.asked)
            words = map(str, extract(server, "--concurrency", 4, *retry))
            process = subprocess.Popen([sys.executable, "-c", OFTEN, *words], stderr=subprocess.DEVNULL)
            end = time.monotonic() + 10
            while process.poll() is None and len(server.asked) < before + 3 and time.monotonic() < end:
                time.sleep(0.005)
            time.sleep(rng.uniform(0, 0.8))
            process.kill()
            process.wait()
            lines = checked(lines, server.asked[before:])
            done += process.returncode == -9
            retries += bool(retry)
        refused = 0
        ended = ner_eval(*extract(server, "--retry-refused"))
    assert ended.code == 0, ended.err
    assert retries > kills / 3
    lines = checked(lines, [])
    assert len(lines) == 300 and all(line["entities"] for line in lines)
    assert sorted(path.name for path in Path().glob("*out*")) == [OUT.name, BESIDE.name]
    assert not [path for path in Path().iterdir() if path.name.endswith(".tmp")]


def test_of_several_at_once_on_one_file_one_goes_on(texts, start) -> None:
    with Faulty(slow(0.1, 0.2)) as server:
        processes = [start(*extract(server, "--concurrency", 4)) for _ in range(4)]
        errors = [process.communicate(timeout=120)[1] for process in processes]
        # One that starts late may find the work done.
        codes = [process.returncode for process in processes]
        assert set(codes) <= {0, 2} and 0 in codes
        busy = [error for code, error in zip(codes, errors, strict=True) if code == 2]
        assert all("another process is writing it; wait, or name another --output" in error for error in busy)
        assert sorted(server.asked) == TEXTS
    assert [line["text"] for line in stored()] == TEXTS


@pytest.mark.parametrize("retry", [False, True])
def test_a_full_disk_leaves_whole_lines_and_the_next_start_continues(texts, ner_eval, monkeypatch, retry) -> None:
    with Faulty() as server:
        assert ner_eval(*extract(server, output="whole.jsonl")).code == 0
        if retry:
            server.script = refusing(*range(40))
            assert ner_eval(*extract(server)).code == 1
            server.script = None
        before = OUT.read_bytes() if retry else b""
        whole = os.fsync, os.fdatasync

        def full(file: int) -> None:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(os, "fsync" if retry else "fdatasync", full)
        ended = ner_eval(*extract(server, *(["--retry-refused"] if retry else [])))
        assert ended.code == 2 and "No space left on device" in ended.lines[-1]
        monkeypatch.setattr(os, "fsync", whole[0])
        monkeypatch.setattr(os, "fdatasync", whole[1])
        if retry:
            assert OUT.read_bytes() == before
        assert not [path for path in Path().iterdir() if path.name.endswith(".tmp")]
        assert ner_eval(*extract(server, "--retry-refused")).code == 0
    assert OUT.read_bytes() == Path("whole.jsonl").read_bytes()
