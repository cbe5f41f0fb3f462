"""`Recognizer`: texts in, entities out, from Python."""

import json
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from faulty import Faulty
from ner_common.errors import UserError
from ner_data.gold import Entity
from ner_data.prompt import PromptSpec
from ner_eval import Recognizer
from ner_eval.inference.recognizer import read_answer

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
