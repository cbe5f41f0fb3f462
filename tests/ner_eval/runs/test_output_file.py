"""`ner-eval extract --output`: after an interruption it continues where it stopped; one bad text does not end it."""

import json
import shutil
import time
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from faulty import Faulty, drop, failure, slow
from output_support import BESIDE, OUT, TEXTS, extract, refusing, stored
from support import ROOT

LATER = ("packed", "context", "passes")


@pytest.fixture
def texts(work: Path) -> None:
    Path("a.txt").write_text("\n".join(TEXTS), encoding="utf-8")


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
        (lambda: ("--context", "3"), "another context: stored 0, asked for 3"),
        (lambda: ("--passes", "2"), "another passes: stored 1, asked for 2"),
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


# --- refused texts are asked again ------------------------------------------------------------------------------------


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


def test_a_file_of_an_earlier_version_is_continued_with_the_pieces_that_it_had(texts, ner_eval) -> None:
    with Faulty() as server:
        assert ner_eval(*extract(server, "--longest", 9)).code == 0
        before = {key: value for key, value in json.loads(BESIDE.read_text()).items() if key not in LATER}
        BESIDE.write_text(json.dumps(before))
        assert ner_eval(*extract(server, "--longest", 9)).code == 0
        ended = ner_eval(*extract(server))
    assert (
        len(server.asked) == 40 and ended.code == 2 and "was written with another longest: stored 9" in ended.lines[0]
    )
