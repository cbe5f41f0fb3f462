"""`recipes/<name>/model.yaml`: how a base model is described, and how a mistake in the description is reported."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from ner_common.errors import UserError
from ner_common.machine import NumberFormat
from ner_models.base_models import BaseModel, base_model_of, load_base_model, model_names
from ner_models.serving import command
from ner_models.serving.command import number_format
from support import ROOT

GIVEN: dict[str, Any] = {
    "weights": "models/tiny",
    "needs_gpu": False,
    "template": "qwen",
    "source": "me/Tiny",
    "gigabytes": 1,
    "sha256": {"model.safetensors": "0" * 64},
}


@pytest.fixture
def write(workplace: Path) -> Callable[..., Path]:
    """Describe the base model `tiny`; ``...`` removes a key."""

    def write(**changes: Any) -> Path:
        path = workplace / "recipes/tiny/model.yaml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(yaml.safe_dump({key: value for key, value in (GIVEN | changes).items() if value is not ...}))
        return path

    return write


def refusal() -> str:
    with pytest.raises(UserError) as refused:
        load_base_model("tiny")
    assert "\n" not in str(refused.value)
    return str(refused.value)


def test_a_description_is_read(write: Callable[..., Path]) -> None:
    write(dtype="half", revision="v1")
    assert model_names() == ["tiny"]
    assert load_base_model("tiny") == BaseModel(
        "tiny", Path("models/tiny"), False, "qwen", "half", "me/Tiny", "v1", 1, {"model.safetensors": "0" * 64}
    )


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"weights": ...}, "weights is missing; add the folder with the weights"),
        ({"needs_gpu": "maybe"}, "needs_gpu: 'maybe' is not true or false; correct it"),
        ({"template": ""}, "template: '' is not the name of a LLaMA-Factory template"),
        ({"template": 5}, "template: 5 is not the name"),
        ({"gigabytes": True}, "gigabytes: True is not a size in GB"),
        ({"wieghts": "x"}, "wieghts: no such key; remove it, or correct it to one of weights, needs_gpu"),
        ({"source": ...}, "gigabytes: nothing is downloaded without source"),
        ({"gigabytes": ...}, "gigabytes is missing"),
        ({"weights": "elsewhere"}, "weights: elsewhere is not models/tiny, where the download is stored"),
        ({"sha256": {"model.safetensors": "abc"}}, "'model.safetensors' needs 64 hex digits, not 'abc'"),
        ({"sha256": {"../model.safetensors": "0" * 64}}, "sha256: '../model.safetensors' needs"),
    ],
)
def test_a_mistake_is_named_with_its_key(write: Callable[..., Path], changes: dict[str, Any], said: str) -> None:
    write(**changes)
    message = refusal()
    assert message.startswith("recipes/tiny/model.yaml: ")
    assert said in message


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("weights: [a\nx: y", ": not YAML (line 2: "),
        ("weights: \x00", ": not YAML ("),
        ("- a list", ": not a mapping of keys to values"),
        ("", ": the file is empty"),
    ],
)
def test_a_file_that_describes_nothing_is_refused(write: Callable[..., Path], text: str, said: str) -> None:
    write().write_text(text)
    assert refusal().startswith(f"recipes/tiny/model.yaml{said}")


def test_a_base_model_is_found_by_the_folder_of_its_weights(write: Callable[..., Path], workplace: Path) -> None:
    write(dtype="float16")
    found = base_model_of(workplace / "models/../models/tiny")
    assert found is not None and found.name == "tiny"
    assert base_model_of(Path("models/other")) is None


@pytest.mark.parametrize("suits", ["bfloat16", "float32"])
def test_the_number_format_of_a_server_suits_its_machine_unless_the_model_says_float32(
    write: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, suits: str
) -> None:
    tiny, other, small = Path("models/tiny"), Path("models/other"), Path("models/small")
    for folder in (tiny, other, small):
        folder.mkdir(parents=True)
        with (folder / "model.safetensors").open("wb") as file:
            file.truncate(10**6 if folder is small else 10**9)
    monkeypatch.setattr(command, "cpu_number_format", lambda: NumberFormat(suits, "its CPU"))
    for on_cpu, dtype, wanted in (
        (False, "float16", ["float16", "auto", "auto"]),
        (False, "float32", ["float32", "auto", "auto"]),
        (True, "float16", [suits, suits, "float32"]),
        (True, "auto", [suits, suits, "float32"]),
        (True, "float32", ["float32", suits, "float32"]),
    ):
        write(dtype=dtype)
        monkeypatch.setattr(command, "on_cpu", lambda on_cpu=on_cpu: on_cpu)
        assert [number_format(folder).name for folder in (tiny, other, small)] == wanted
    assert number_format(tiny).why == "recipes/tiny/model.yaml says so"
    write(dtype="int3")
    with pytest.raises(UserError, match=r"recipes/tiny/model.yaml: dtype: 'int3' is not one of auto, half"):
        number_format(tiny)


def test_nano_is_served_in_float32_on_a_cpu(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(command, "on_cpu", lambda: True)
    for folder in (ROOT, tmp_path):  # also where no model.yaml describes it
        monkeypatch.chdir(folder)
        assert number_format(ROOT / "data/nano").name == "float32"


def test_a_broken_description_keeps_no_other_model_from_being_found(
    write: Callable[..., Path], workplace: Path
) -> None:
    write()
    (workplace / "recipes/broken").mkdir()
    (workplace / "recipes/broken/model.yaml").write_text("weights: [\n")
    assert base_model_of(Path("models/tiny")) == load_base_model("tiny")
    assert base_model_of(Path("models/other")) is None
