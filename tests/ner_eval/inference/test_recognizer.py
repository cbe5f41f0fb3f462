"""`Recognizer`: texts in, entities out, from Python."""

import asyncio
import json
import re
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas
import pytest
from aiohttp import web

from faulty import Faulty, Script, failure, slow
from ner_common.errors import UserError
from ner_data.gold import Entity
from ner_data.prompt import PromptSpec
from ner_eval import Recognizer
from ner_eval.inference.failures import RecordRefused
from ner_eval.inference.recognized import read_answer
from ner_eval.inference.recognizer import TextsRefused

PROMPT = "data/alpaca/demo.prompt.json"


def test_what_cannot_be_used_is_named(work: Path) -> None:
    spec = PromptSpec.load(work / PROMPT)
    items = [("name", "林晓"), ("company", "没有"), ("planet", "林晓"), ("name", "林晓")]
    answer = json.dumps([{"label": label, "text": text} for label, text in items])
    found = read_answer(spec, "林晓在", answer, "length")
    assert found.entities == (Entity(0, 2, "name", "林晓"),)
    assert found.problems == (
        "answer truncated by max_tokens",
        "not in the text: '没有' (company)",
        "unknown label 'planet' ('林晓')",
    )
    assert read_answer(spec, "林晓在", "?", "stop").problems == ("answer unparsable",)


def test_three_lines_of_python_are_enough(work) -> None:
    with Faulty() as server:
        recognizer = Recognizer(server.base_url, "nano", prompt=PROMPT)
        assert recognizer.predict(["林晓在", "", "王五在"]) == [
            [Entity(0, 2, "name", "林晓")],
            [],
            [Entity(0, 2, "name", "王五")],
        ]
        Path("adapter").mkdir()
        shutil.copy(PROMPT, "adapter/ner_prompt.json")
        assert len(Recognizer(server.base_url, "nano", prompt="adapter").predict(["林晓在"])[0]) == 1
        with pytest.raises(UserError, match="does not serve the model"):
            Recognizer(server.base_url, "other", prompt=PROMPT).predict(["林晓在"])


def test_the_prompt_is_found_in_the_folder_that_the_server_names(work) -> None:
    spec = PromptSpec.load(Path(PROMPT))
    replace(spec, system="模型的。").save(work / "adapter/ner_prompt.json")
    for folder in ("adapter", work / "adapter"):
        with Faulty(models={"nano": work / "base", "nano-lora": folder}) as server:
            assert Recognizer(server.base_url, "nano-lora").predict(["林晓在"]) == [[Entity(0, 2, "name", "林晓")]]
            assert server.bodies[0]["messages"] == replace(spec, system="模型的。").messages("林晓在")
            with pytest.raises(UserError, match="no prompt spec for this model"):
                Recognizer(server.base_url, "nano").predict(["林晓在"])


def test_it_works_inside_a_running_loop_as_in_a_notebook(work) -> None:
    import asyncio

    async def cell() -> list[list[Entity]]:
        return Recognizer(server.base_url, "nano", prompt=PROMPT).predict(["林晓在"])

    with Faulty() as server:
        assert asyncio.run(cell()) == [[Entity(0, 2, "name", "林晓")]]


def test_importing_the_package_loads_nothing_heavy() -> None:
    heavy = "aiohttp|tqdm|pandas|torch|transformers|vllm"
    program = "import sys, ner_eval, ner_eval.extract, ner_eval.predict; print(*sys.modules, sep='\\n')"
    modules = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    assert not re.search(rf"^({heavy})$", modules, re.MULTILINE)


def test_a_string_is_not_taken_for_texts_of_one_character() -> None:
    with pytest.raises(TypeError, match="put it into a list"):
        Recognizer("http://127.0.0.1:1/v1", "nano").predict("张伟在杭州。")


@pytest.mark.parametrize("texts", [{"a": "张伟"}, pandas.DataFrame({"text": ["张伟"], "id": ["1"]}), None, 5])
def test_a_table_is_not_taken_for_its_column_names(texts: Any) -> None:
    with pytest.raises(TypeError, match=f"not a {type(texts).__name__}: name the texts in it"):
        Recognizer("http://127.0.0.1:1/v1", "nano").predict(texts)


# --- refused texts ----------------------------------------------------------------------------------------------------


def refusing(*sentences: str) -> Script:
    async def refuse(server: Faulty, body: dict[str, Any]) -> web.Response | None:
        return failure(400, "no\x1b[2J way") if server.asked[-1] in sentences else None

    return refuse


def test_a_refused_text_is_a_result_with_the_servers_words_and_the_others_are_kept(work) -> None:
    with Faulty(refusing("赵六在")) as server:
        recognizer = Recognizer(server.base_url, "nano", prompt=PROMPT)
        first, refused, last = recognizer.recognize(["林晓在", "赵六在", "王五在"])
    assert (first.entities, last.entities) == ((Entity(0, 2, "name", "林晓"),), (Entity(0, 2, "name", "王五"),))
    assert first.answered and first.error is None
    assert not refused.answered and not refused.failed and refused.entities == () and refused.text == "赵六在"
    assert (
        refused.error is not None
        and refused.error.isprintable()
        and "text 1: HTTP 400: 'no\\x1b[2J way'" in refused.error
    )
    assert refused.problems == (f"no answer: {refused.error}",)


def test_predict_never_passes_a_refused_text_off_as_one_without_entities(work) -> None:
    with Faulty(refusing("赵六在")) as server:
        recognizer = Recognizer(server.base_url, "nano", prompt=PROMPT)
        with pytest.raises(TextsRefused, match="1 of 3 texts got no answer: number 1 ") as caught:
            recognizer.predict(["林晓在", "赵六在", "王五在"])
        assert len(server.asked) == 3
    assert isinstance(caught.value, RecordRefused) and "\n" not in str(caught.value)
    assert [len(result.entities) for result in caught.value.results] == [1, 0, 1]


def test_a_long_text_with_a_refused_piece_has_no_answer(work) -> None:
    text = "林晓在。" * 100
    with Faulty() as server:
        recognizer = Recognizer(server.base_url, "nano", prompt=PROMPT)
        assert recognizer.recognize([text])[0].answered
        server.script = refusing(server.asked[-1])
        found = recognizer.recognize([text, "王五在"])
    assert [result.answered for result in found] == [False, True] and found[0].entities == ()


def test_an_answer_gone_wild_is_read_with_a_bound(work) -> None:
    spec = PromptSpec.load(Path(PROMPT))
    answer = json.dumps([{"label": f"x{n}", "text": "林" * 5000} for n in range(3000)])
    found = read_answer(spec, "林晓在", answer, "stop")
    assert len(found.problems) == 21 and found.problems[0] == "only the first 103 of 3000 mentions are read"
    assert found.problems[-1] == "... and 84 more problems" and max(map(len, found.problems)) < 200


# --- interrupts and arguments -----------------------------------------------------------------------------------------

NOTEBOOK = """
import asyncio, signal, sys, threading, time
from ner_eval import Recognizer

async def cell():
    if sys.argv[3] == "notebook":  # Jupyter raises KeyboardInterrupt in the cell
        signal.signal(signal.SIGINT, signal.default_int_handler)
    print("asking", flush=True)
    Recognizer(sys.argv[1], "nano", prompt=sys.argv[2], concurrency=4).predict(["林晓在"] * 100)

async def main():
    await (asyncio.wait_for(cell(), 100) if sys.argv[3] == "subtask" else cell())

try:
    asyncio.run(main())
except KeyboardInterrupt:
    print("interrupted", threading.active_count(), flush=True)
"""


@pytest.mark.parametrize("kind", ["notebook", "program", "subtask"])
def test_an_interrupt_inside_a_running_loop_takes_effect_at_once(work, kind) -> None:
    with Faulty(slow(60, 60)) as server:
        process = subprocess.Popen(
            [sys.executable, "-c", NOTEBOOK, server.base_url, PROMPT, kind], stdout=subprocess.PIPE, text=True
        )
        assert process.stdout is not None and process.stdout.readline() == "asking\n"
        deadline = time.monotonic() + 60
        while len(server.asked) < 4 and time.monotonic() < deadline:
            time.sleep(0.01)
        started = time.monotonic()
        process.send_signal(signal.SIGINT)
        assert process.stdout.readline() == "interrupted 1\n"
        assert time.monotonic() - started < 5
        assert process.wait(60) == 0
        assert len(server.asked) == 4


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"concurrency": 0}, "concurrency must be a whole number from 1"),
        ({"concurrency": 2.5}, "concurrency must be a whole number"),
        ({"context": -1}, "context must be a whole number from 0, not -1"),
        ({"passes": 0}, "passes must be a whole number from 1"),
        ({"passes": True}, "passes must be a whole number from 1"),
        ({"threshold": 1.5}, "threshold must be a score from 0 to 1, not 1.5"),
        ({"threshold": "0.8"}, "threshold must be a score from 0 to 1, not '0.8'"),
        ({"precision": 0}, "precision must be above 0 and up to 1, not 0"),
        ({"precision": 0.9, "threshold": 0.8}, "give one of them"),
        ({"per_label": True}, "give the precision"),
        ({"structured": "jsno"}, "structured must be off or json or grammar, not 'jsno'"),
        ({"base_url": []}, "at least one address"),
        ({"base_url": iter(["http://127.0.0.1:1/v1"])}, "at least one address"),
        ({"api_key": 5}, "the API key is no text"),
        ({"base_url": "127.0.0.1:8000/v1"}, "is not an address like"),
        ({"base_url": ["http://127.0.0.1:1/v1", "http://.."]}, "is not an address like"),
        (
            {"base_url": "http://me:secret@127.0.0.1:1/v1"},
            "must not hold a user name or password; give the server's key",
        ),
        ({"base_url": "http://127.0.0.1:1/v1?x=1"}, "must end after its path"),
        ({"timeout": float("nan")}, "timeout must be a number of seconds above 0"),
        ({"timeout": float("inf")}, "timeout must be"),
        ({"timeout": 0}, "timeout must be"),
        ({"patience": -1}, "patience must be"),
        ({"patience": "60"}, "patience must be"),
        ({"api_key": "sk-secret\n"}, "the API key is no text, or has a line break"),
        ({"api_key": "sk-secret密"}, "a character that is not ASCII"),
    ],
)
def test_wrong_arguments_are_refused_in_one_line(arguments, words) -> None:
    with pytest.raises(ValueError) as caught:
        Recognizer(**{"base_url": "http://127.0.0.1:1/v1", "model": "nano", **arguments})
    assert words in str(caught.value) and "\n" not in str(caught.value) and "secret" not in str(caught.value)


@pytest.mark.parametrize(
    "arguments",
    [
        ("--timeout", "inf"), ("--timeout", "nan"), ("--patience", "1e300"), ("--wait", "-1"), ("--wait", "nan"),
        ("--base-url", "http://xn--/v1"), ("--base-url", "http://.."), ("--base-url", "127.0.0.1:8000"), ("--base-url", "http://me:secret@127.0.0.1:1"),
        ("--base-url", "http://127.0.0.1:99999/v1"), ("--base-url", "http://[::1/v1"), ("--base-url", "http://a b/v1"),
        ("--base-url", "http://127.0.0.1:1/v1?key=secret"), ("--api-key", "secret\n"), ("--api-key", "密"),
        ("--concurrency", "99999999"),
    ],
)  # fmt: skip
def test_the_commands_refuse_them_in_one_line_too(work, ner_eval, arguments) -> None:
    ended = ner_eval("predict", "--model", "nano", "--corpus", "demo", *arguments)
    assert ended.code == 2 and not Path("runs").exists()
    # argparse shows the usage first
    errors = [line for line in ended.err.splitlines() if line.startswith("ner-eval") and ": " in line]
    assert len(errors) == 1 and errors[0] == ended.err.splitlines()[-1]
    assert "secret" not in ended.err


def test_texts_must_be_strings() -> None:
    with pytest.raises(TypeError, match="number 1 is 5"):
        Recognizer("http://127.0.0.1:1/v1", "nano").recognize(["林晓在", 5])  # type: ignore[list-item]


def test_a_lone_surrogate_in_a_text_is_asked_as_a_question_mark(work) -> None:
    with Faulty() as server:
        [found] = Recognizer(server.base_url, "nano", prompt=PROMPT).recognize(["林晓\ud800在"])
    assert server.asked == ["林晓?在"] and found.entities == (Entity(0, 2, "name", "林晓"),)


def test_what_was_found_is_kept_if_the_server_hangs_on_one_text(work: Path) -> None:
    spec = PromptSpec.load(Path(PROMPT))

    async def script(server: Faulty, body: dict[str, Any]) -> web.Response | None:
        if "王五" in server.asked[-1]:
            await asyncio.sleep(60)
        return None

    with Faulty(script) as server:
        model = Recognizer(server.base_url, "nano", spec, timeout=1, patience=2)
        found = model.recognize(["林晓在", "王五在", "李四在"])
        assert [result.answered for result in found] == [True, False, True]
        assert [result.failed for result in found] == [False, True, False]
        assert "no answer within 1 s" in (found[1].error or "") and found[1].entities == ()
        with pytest.raises(TextsRefused, match="1 of 3 texts got no answer: number 1"):
            model.predict(["林晓在", "王五在", "李四在"])
