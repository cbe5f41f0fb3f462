"""`ner-eval extract --output`: after an interruption it continues where it stopped; one bad text does not end it."""

import asyncio
import json
import os
import random
import shutil
import socket
import stat
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from faulty import Faulty, Script, drop, failure, slow
from support import ROOT

OUT, BESIDE = Path("out.jsonl"), Path("out.jsonl.manifest.json")
TEXTS = [f"林{n:02}在" for n in range(40)]


def extract(server: Faulty, *arguments: object, output: str = OUT.name) -> tuple[object, ...]:
    prompt = ("--prompt", "data/alpaca/demo.prompt.json", "--wait", "0", "--base-url", server.base_url)
    return ("extract", "--model", "nano", *prompt, "--output", output, "a.txt", *arguments)


@pytest.fixture
def texts(work: Path) -> None:
    Path("a.txt").write_text("\n".join(TEXTS), encoding="utf-8")


def stored() -> list[dict[str, Any]]:
    return [json.loads(line) for line in OUT.read_text(encoding="utf-8").split("\n")[:-1]] if OUT.exists() else []


def test_kill_9_at_any_moment_loses_and_duplicates_nothing(texts, ner_eval, start) -> None:
    with Faulty() as server:
        assert ner_eval(*extract(server, output="whole.jsonl")).code == 0
    kills = kept = 0
    with Faulty(slow(0.1, 0.3)) as server:
        while kills < 8:
            before, had = len(server.asked), len(stored())
            process = start(*extract(server, "--concurrency", 4))
            size = OUT.stat().st_size if had else 0
            # Every other time, something new is on disk when the process dies.
            while process.poll() is None and (
                len(server.asked) <= before + 2 or (kills % 2 and (not OUT.exists() or OUT.stat().st_size == size))
            ):
                time.sleep(0.01)
            time.sleep(0.05 * (kills % 5))
            process.kill()
            process.communicate()
            assert not {int(text[1:3]) for text in server.asked[before:]} & set(range(had))
            if process.returncode == 0:
                break
            kept += had > 0
            kills += 1
        assert kills >= 4 and kept >= 2
        ended = ner_eval(*extract(server))
        assert ended.code == 0 and "texts were already done; " in ended.err
    assert OUT.read_bytes() == Path("whole.jsonl").read_bytes()
    assert [line["text"] for line in stored()] == TEXTS


def test_answers_survive_a_lost_server_and_the_next_start_continues(texts, ner_eval) -> None:
    async def dies(server: Faulty, body: dict[str, Any]) -> web.StreamResponse | None:
        return drop if len(server.asked) > 20 else None

    with Faulty(dies) as server:
        ended = ner_eval(*extract(server, "--concurrency", 4, "--patience", 1))
        assert ended.code == 2 and "same command again to continue" in ended.lines[-1]
        kept = len(stored())
        assert 17 <= kept <= 20 and f"the first {kept} texts are done" in ended.lines[-1]
        OUT.write_bytes(OUT.read_bytes() + b'{"id": "a.txt')  # a line that a crash cut off
        server.script = None
        server.asked.clear()
        assert ner_eval(*extract(server)).code == 0
    assert server.asked and set(server.asked) == set(TEXTS[kept:])
    assert [line["text"] for line in stored()] == TEXTS


def test_a_request_that_one_server_fails_on_goes_to_another(texts, ner_eval) -> None:
    async def dead(server: Faulty, body: dict[str, Any]) -> web.StreamResponse:
        return drop

    with Faulty(dead) as broken, Faulty() as server:
        ended = ner_eval(*extract(broken, "--base-url", server.base_url))
    assert ended.code == 0, ended.err
    assert broken.asked and [line["text"] for line in stored()] == TEXTS


@pytest.mark.parametrize("fault", [lambda: failure(400, "context length"), lambda: failure(500, "boom"), lambda: drop])
def test_a_refused_text_is_named_and_the_others_are_answered(texts, ner_eval, fault) -> None:
    async def refuse(server: Faulty, body: dict[str, Any]) -> web.StreamResponse | None:
        # The others take a while, so some are answered during every attempt at the bad one.
        return fault() if server.asked[-1] == TEXTS[7] else await slow(0.1, 0.15)(server, body)

    with Faulty(refuse) as server:
        ended = ner_eval(*extract(server, "--concurrency", 2))
    assert ended.code == 1 and "40 texts, 1 with problems, 1 without an answer" in ended.err
    lines = stored()
    assert [line["text"] for line in lines] == TEXTS
    assert [bool(line["entities"]) for line in lines] == [n != 7 for n in range(40)]
    assert lines[7]["problems"][0].startswith("no answer: ") and "a.txt:8" in lines[7]["problems"][0]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda: ("--longest", "9"), "another longest: stored "),
        (lambda: ("--model", "other"), "another model: stored 'nano', asked for 'other'"),
        (lambda: ("--structured", "json"), "another structured: stored 'off'"),
        (lambda: Path("a.txt").write_text("王五在\n", encoding="utf-8"), "out.jsonl:1: is not the answer to a.txt:1"),
        (lambda: Path("a.txt").write_text(TEXTS[0], encoding="utf-8"), "is not the answer to the end of the input"),
        (lambda: BESIDE.unlink(), "has no out.jsonl.manifest.json next to it"),
        (lambda: BESIDE.write_text("[]"), "out.jsonl.manifest.json"),
        (lambda: OUT.write_text("x" + OUT.read_text()[1:]), "out.jsonl:1: is not the answer"),
        (lambda: ("--pretty",), "leave one out"),
    ],
)
def test_a_file_is_not_continued_with_anything_else(texts, ner_eval, change, words) -> None:
    with Faulty(models=("nano", "other")) as server:
        assert ner_eval(*extract(server)).code == 0
        arguments = change()
        before = OUT.read_bytes()
        ended = ner_eval(*extract(server, *(arguments if isinstance(arguments, tuple) else ())))
    assert ended.code == 2 and words in ended.lines[-1]
    assert OUT.read_bytes() == before and len(server.asked) == 40


def test_a_retrained_adapter_is_another_model(texts, ner_eval) -> None:
    shutil.copytree(ROOT / "data/nano", "adapter")
    with Faulty() as server:
        assert ner_eval(*extract(server, "--adapter", "adapter")).code == 0
        weights = Path("adapter/model.safetensors")
        data = weights.read_bytes()
        weights.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
        ended = ner_eval(*extract(server, "--adapter", "adapter"))
    assert ended.code == 2 and "another weights: stored" in ended.lines[-1]


def test_a_foreign_file_is_left_alone_and_nothing_answered_leaves_nothing(texts, ner_eval) -> None:
    with Faulty() as server:
        OUT.write_text("notes")
        ended = ner_eval(*extract(server))
        assert ended.code == 2 and "has no out.jsonl.manifest.json" in ended.lines[0] and OUT.read_text() == "notes"
        OUT.unlink()
        Path("a.txt").write_bytes("王五".encode("gbk"))
        assert ner_eval(*extract(server)).code == 2
    assert not OUT.exists() and not BESIDE.exists()


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
    assert ended.code == 2 and "out.csv: the output is JSON lines, not a table" in ended.lines[0]
    assert not Path("out.csv").exists()


# --- refused texts are asked again ------------------------------------------------------------------------------------


def refusing(*numbers: int) -> Script:
    async def refuse(server: Faulty, body: dict[str, Any]) -> web.StreamResponse | None:
        return failure(400, "too long") if server.asked[-1] in [TEXTS[n] for n in numbers] else None

    return refuse


def refused_lines() -> list[int]:
    return [number for number, line in enumerate(stored()) if line["entities"] is None]


def test_refused_texts_are_counted_each_time_and_asked_again_on_request(texts, ner_eval) -> None:
    with Faulty() as server:
        assert ner_eval(*extract(server, output="whole.jsonl")).code == 0
    with Faulty(refusing(3, 7, 39)) as server:
        ended = ner_eval(*extract(server))
        assert ended.code == 1 and "40 texts, 3 with problems, 3 without an answer" in ended.err
        assert refused_lines() == [3, 7, 39] and "too long" in stored()[7]["problems"][0]
        before = OUT.read_bytes()
        ended = ner_eval(*extract(server))
        words = "40 texts were already done; 3 of them the server refused: ask again with --retry-refused; 0 texts"
        assert ended.code == 1 and words in ended.err and OUT.read_bytes() == before
        server.script = refusing(7)
        server.asked.clear()
        ended = ner_eval(*extract(server, "--retry-refused"))
        assert ended.code == 1 and "37 texts were already done; 3 texts, 1 with problems, 1 without" in ended.err
        assert sorted(server.asked) == [TEXTS[n] for n in (3, 7, 39)] and refused_lines() == [7]
        assert [line["text"] for line in stored()] == TEXTS
        server.script = None
        assert ner_eval(*extract(server, "--retry-refused")).code == 0
        assert OUT.read_bytes() == Path("whole.jsonl").read_bytes()
        assert ner_eval(*extract(server, "--retry-refused")).code == 0
    assert sorted(path.name for path in Path().glob("*out*")) == [OUT.name, BESIDE.name]


def test_a_retry_goes_on_with_the_texts_that_were_not_asked_yet(texts, ner_eval) -> None:
    with Faulty() as server:
        assert ner_eval(*extract(server, output="whole.jsonl")).code == 0
        server.script = refusing(3, 7)
        Path("a.txt").write_text("\n".join(TEXTS[:20]), encoding="utf-8")
        assert ner_eval(*extract(server)).code == 1
        Path("a.txt").write_text("\n".join(TEXTS), encoding="utf-8")
        server.script = None
        assert ner_eval(*extract(server, "--retry-refused")).code == 0
    assert OUT.read_bytes() == Path("whole.jsonl").read_bytes()


def test_a_lost_server_keeps_the_new_answers_to_refused_texts(texts, ner_eval) -> None:
    with Faulty(refusing(*range(0, 40, 2))) as server:
        assert ner_eval(*extract(server)).code == 1
        server.asked.clear()

        async def dies(server: Faulty, body: dict[str, Any]) -> web.StreamResponse | None:
            return drop if len(server.asked) > 10 else None

        server.script = dies
        ended = ner_eval(*extract(server, "--retry-refused", "--concurrency", 1, "--patience", 1))
        assert ended.code == 2 and "30 texts are done" in ended.lines[-1]
        assert refused_lines() == list(range(20, 40, 2))


def test_a_file_of_an_earlier_version_is_continued(texts, ner_eval) -> None:
    with Faulty() as server:
        assert ner_eval(*extract(server)).code == 0
        lines = stored()
        lines[5] |= {"entities": [], "problems": ["no answer: http://127.0.0.1:1/v1: a.txt:6: HTTP 400: 'no'"]}
        OUT.write_text("".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines), encoding="utf-8")
        assert ner_eval(*extract(server)).code == 1
        assert ner_eval(*extract(server, "--retry-refused")).code == 0
    assert stored()[5]["entities"] and server.asked[-1] == TEXTS[5]


def test_a_retry_needs_an_output_file(texts, ner_eval) -> None:
    ended = ner_eval("extract", "--model", "nano", "--retry-refused", "a.txt")
    assert ended.code == 2 and "name it with --output" in ended.lines[0]


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
            retry = ("--retry-refused",) if rng.random() < 0.7 else ()
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
