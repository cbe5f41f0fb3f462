"""Models that are exchanged on the engines (`ner-model reload`) while the service runs."""

import shutil
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from api_process import Api, until
from faulty import Faulty, failure
from ner_data.prompt import FILE_NAME, PromptSpec, instruction
from ner_eval.confidence.calibration import Calibration, save
from scored_answers import giving

OLD, NEW = ("name", "company"), ("name", "animal")


def version(folder: Path, labels: tuple[str, ...], weights: bytes) -> Path:
    """A model's folder; its weights are read as bytes only."""
    folder.mkdir()
    asked = instruction([(label, label) for label in labels], "json_list")
    PromptSpec("demo", "系统。", asked, labels, "json_list", 64, longest_text=60).save(folder / FILE_NAME)
    (folder / "adapter_model.safetensors").write_bytes(weights)
    return folder


def calibrated_before(folder: Path) -> None:
    """Put a calibration into a model's folder that was made for weights which it held earlier."""
    entities = tuple(("name", n / 60, n % 2 == 0) for n in range(60))
    how = (PromptSpec.load(folder / FILE_NAME).fingerprint, "0" * 16, "off", "platt", (1.0, 0.0), ())
    save(folder, Calibration(1, "demo", *how, 0.1, 0.1, entities))


def labels(api: Api) -> tuple[str, ...]:
    (model,) = api.client.get("/models").json()["models"]
    return tuple(model["labels"])


def model_version(api: Api) -> str:
    (named,) = api.client.get("/label-studio/versions").json()["versions"]
    return str(named)


@pytest.mark.parametrize("named", ["NAME", "NAME=DIR"])
def test_prompt_and_version_are_those_that_the_engine_serves_now(tmp_path: Path, named: str) -> None:
    old, new = version(tmp_path / "1", OLD, b"1"), version(tmp_path / "2", NEW, b"2")
    with Faulty(models={"nano": old}) as engine:
        word = "nano" if named == "NAME" else f"nano={old}"
        with Api("--model", word, "--base-url", engine.base_url) as api:
            before = model_version(api)
            assert labels(api) == OLD
            engine.models = {"nano": new}
            until(lambda: labels(api) == NEW)
            assert model_version(api) != before
            assert api.extract({"text": "林晓在", "labels": ["animal"]}).status_code == 200
            assert "animal" in engine.bodies[-1]["messages"][1]["content"]
            engine.models = {"nano": old}
            until(lambda: labels(api) == OLD)
            assert model_version(api) == before
            assert api.log.count("nano: exchanged; asked as nano ") == 2


def test_a_folder_that_was_trained_into_again_counts_once_the_engine_has_it(tmp_path: Path) -> None:
    """As after ``make train reload``: the server has a copy of its own, and the named folder changes first."""
    named, served = version(tmp_path / "named", OLD, b"1"), version(tmp_path / "1", OLD, b"1")
    with (
        Faulty(models={"nano": served}) as engine,
        Api("--model", f"nano={named}", "--base-url", engine.base_url) as api,
    ):
        for file in version(tmp_path / "2", NEW, b"2").iterdir():
            (named / file.name).write_bytes(file.read_bytes())
        assert labels(api) == OLD
        engine.models = {"nano": tmp_path / "2"}
        until(lambda: labels(api) == NEW)


@pytest.mark.parametrize("named", ["NAME", "NAME=DIR"])
def test_a_calibration_of_other_weights_keeps_nobody_from_the_prompt_of_those_that_are_served(
    tmp_path: Path, named: str
) -> None:
    old, new = version(tmp_path / "1", OLD, b"1"), version(tmp_path / "2", NEW, b"2")
    calibrated_before(old)
    calibrated_before(new)
    with Faulty(giving([("name", "林晓", 0.9)]), models={"nano": old}) as engine:
        word = "nano" if named == "NAME" else f"nano={old}"
        with Api("--model", word, "--base-url", engine.base_url) as api:
            engine.models = {"nano": new}
            until(lambda: labels(api) == NEW)
            (result,) = api.extract({"text": "林晓在", "labels": ["name"], "scores": True}).json()["results"]
            assert "animal" in engine.bodies[-1]["messages"][1]["content"]
            assert result["entities"][0]["score"] == 0.9
    for folder in (old, new):
        (said,) = [line for line in api.log.splitlines() if str(folder / "ner_calibration.json") in line]
        assert said.endswith(
            "; calibrate again with `ner-eval calibrate`, or remove the file; the scores of nano are not calibrated"
        )


def test_engines_that_are_exchanged_one_after_the_other_are_asked_as_before_until_all_are(tmp_path: Path) -> None:
    old, new = version(tmp_path / "1", OLD, b"1"), version(tmp_path / "2", NEW, b"2")
    with (
        Faulty(models={"nano": old}) as one,
        Faulty(models={"nano": old}) as two,
        Api("--model", "nano", "--base-url", one.base_url, "--base-url", two.base_url) as api,
    ):
        one.models = {"nano": new}
        until(lambda: "with other weights" in api.log)
        assert labels(api) == OLD and api.extract({"text": "林晓在"}).status_code == 200
        two.models = {"nano": new}
        until(lambda: labels(api) == NEW)


def test_a_model_that_is_gone_is_asked_as_before_and_taken_back(tmp_path: Path) -> None:
    old, new = version(tmp_path / "1", OLD, b"1"), version(tmp_path / "2", NEW, b"2")
    with Faulty(models={"nano": old}) as engine, Api("--model", "nano", "--base-url", engine.base_url) as api:
        engine.models = {"other": new}
        until(lambda: "does not serve the model 'nano'" in api.log)
        assert labels(api) == OLD and api.client.get("/ready").status_code == 503
        engine.models = {"nano": new}
        until(lambda: labels(api) == NEW)
        assert api.client.get("/ready").status_code == 200


def unreadable(folder: Path) -> None:
    """Put a folder in the place of a model's weights, which no user can read as a file."""
    weights = folder / "adapter_model.safetensors"
    weights.unlink()
    (weights / "part").mkdir(parents=True)


def readable(folder: Path, content: bytes) -> None:
    shutil.rmtree(folder / "adapter_model.safetensors")
    (folder / "adapter_model.safetensors").write_bytes(content)


def test_weights_that_cannot_be_read_are_looked_at_again(tmp_path: Path) -> None:
    old, new = version(tmp_path / "1", OLD, b"1"), version(tmp_path / "2", NEW, b"2")
    unreadable(new)
    with Faulty(models={"nano": old}) as engine, Api("--model", "nano", "--base-url", engine.base_url) as api:
        engine.models = {"nano": new}
        until(lambda: "adapter_model.safetensors: Is a directory; nano is asked as before" in api.log)
        assert labels(api) == OLD and api.extract({"text": "林晓在"}).status_code == 200
        readable(new, b"2")
        until(lambda: labels(api) == NEW)


async def away(server: Faulty, body: dict[str, Any]) -> web.Response:
    return failure(503)


def test_an_engine_that_comes_back_is_left_out_while_its_weights_cannot_be_read(tmp_path: Path) -> None:
    served = version(tmp_path / "1", OLD, b"1")
    with (
        Faulty(models={"nano": served}) as engine,
        Api("--model", "nano", "--base-url", engine.base_url, "--patience", 1) as api,
    ):
        engine.script, up = away, b'ner_engines_up{model="nano"} 1.0'
        unreadable(served)
        while up in api.client.get("/metrics").content:
            assert api.extract({"text": "林晓在"}).status_code == 503
        until(lambda: "adapter_model.safetensors: Is a directory; it is left out" in api.log)
        engine.script = None
        readable(served, b"1")
        until(lambda: up in api.client.get("/metrics").content, 20)
        assert api.extract({"text": "林晓在"}).status_code == 200


def test_an_engine_that_comes_back_with_other_weights_in_the_same_folder_is_asked_as_these_say(tmp_path: Path) -> None:
    served = version(tmp_path / "1", OLD, b"1")
    with (
        Faulty(models={"nano": served}) as engine,
        Api("--model", "nano", "--base-url", engine.base_url, "--patience", 1) as api,
    ):
        engine.script = away
        while b'ner_engines_up{model="nano"} 0.0' not in api.client.get("/metrics").content:
            assert api.extract({"text": "林晓在"}).status_code == 503
        for file in version(tmp_path / "2", NEW, b"2").iterdir():
            (served / file.name).write_bytes(file.read_bytes())
        engine.script = None
        until(lambda: api.extract({"text": "林晓在", "labels": ["animal"]}).status_code == 200, 20)
        assert labels(api) == NEW
