"""The number format of a training: chosen on a CPU, as the recipe says on a GPU, and the one that is computed in."""

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest

from llamafactory_ner import number_format
from llamafactory_ner.number_format import suited
from ner_common.machine import NumberFormat
from support import ROOT, train

ON_CPU: dict[str, Any] = {"do_train": True, "bf16": True, "use_cpu": True}
LINE = "llamafactory_ner: number format: {} (because); override with bf16=true or bf16=false\n"


@pytest.fixture
def cpu(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> str:
    """A CPU that suits the format of the test's parameter."""
    name: str = request.param
    monkeypatch.setattr(number_format, "cpu_number_format", lambda: NumberFormat(name, "because"))
    monkeypatch.setattr("sys.argv", ["train", "recipe.yaml"])
    return name


@pytest.mark.parametrize("cpu", ["bfloat16", "float32"], indirect=True)
def test_a_recipe_in_bf16_gets_what_suits_the_cpu_and_one_line_says_so(
    cpu: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert suited({**ON_CPU, "seed": 1}) == {**ON_CPU, "seed": 1, "bf16": cpu == "bfloat16"}
    assert capsys.readouterr().err == LINE.format(cpu)


@pytest.mark.parametrize("cpu", ["bfloat16", "float32"], indirect=True)
@pytest.mark.parametrize("changes", [{"bf16": False}, {"bf16": None}, {"do_train": False}])
def test_a_recipe_that_does_not_train_in_bf16_stays_as_it_is(
    cpu: str, changes: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    assert suited(ON_CPU | changes) == ON_CPU | changes
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("cpu", ["float32"], indirect=True)
def test_bf16_on_the_command_line_is_taken_as_it_is(
    cpu: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["train", "recipe.yaml", "bf16=true"])
    assert suited(ON_CPU) == ON_CPU
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("cpu", ["float32"], indirect=True)
def test_a_gpu_trains_as_the_recipe_says(cpu: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(number_format, "trains_on_cpu", lambda given: False)
    monkeypatch.setattr(number_format, "emulates_bfloat16", lambda: False)
    given = {"do_train": True, "bf16": True}
    assert suited(given) == given


@pytest.mark.parametrize("cpu", ["float32"], indirect=True)
def test_a_gpu_without_bfloat16_trains_in_float16_unless_bf16_is_asked_for(
    cpu: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The card is injected: this machine has none."""
    monkeypatch.setattr(number_format, "trains_on_cpu", lambda given: False)
    monkeypatch.setattr(number_format, "emulates_bfloat16", lambda: True)
    given = {"do_train": True, "bf16": True}
    assert suited(given) == {"do_train": True, "bf16": False, "fp16": True}
    why = "(this GPU has no bfloat16 and would emulate it)"
    assert capsys.readouterr().err == LINE.format("float16").replace("(because)", why)
    for other in ({**given, "bf16": False}, {**given, "do_train": False}):
        assert suited(other) == other
    monkeypatch.setattr("sys.argv", ["train", "recipe.yaml", "bf16=true"])
    assert suited(given) == given
    assert capsys.readouterr().err == ""


@pytest.mark.train
def test_both_trainers_are_told_that_a_gpu_emulates_bfloat16(
    monkeypatch: pytest.MonkeyPatch, chain: Path, tmp_path: Path
) -> None:
    """torch's answers are those of a V100, injected."""
    import torch

    from ner_models.peft_training.recipe import read_recipe

    monkeypatch.setattr("sys.argv", ["train", "recipe.yaml"])
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation=True: including_emulation)
    assert suited({"do_train": True, "bf16": True}) == {"do_train": True, "bf16": False, "fp16": True}
    monkeypatch.chdir(chain)
    recipe, given = read_recipe(
        Path("recipes/nano/peft_lora.yaml"), ["bf16=true", "use_cpu=false", f"output_dir={tmp_path / 'a'}"]
    )
    assert (recipe.bf16, recipe.fp16, recipe.use_cpu) == (given["bf16"], given["fp16"], False) == (False, True, False)


@pytest.mark.train
def test_on_a_gpu_a_frozen_base_is_loaded_in_float16_if_that_is_computed_in(
    monkeypatch: pytest.MonkeyPatch, chain: Path, tmp_path: Path
) -> None:
    """Published in bfloat16, it would be converted at every use. Only the answer whether there is a GPU is injected."""
    import torch
    from transformers import AutoModelForCausalLM

    from llamafactory_ner.number_format import in_format
    from ner_models.peft_training.recipe import read_recipe
    from ner_models.peft_training.train import lora_model

    monkeypatch.chdir(chain)
    recipe, _ = read_recipe(
        Path("recipes/nano/peft_lora.yaml"), ["fp16=true", "use_cpu=false", f"output_dir={tmp_path / 'a'}"]
    )
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: True)
    found = {(parameter.dtype, parameter.requires_grad) for parameter in lora_model(recipe).parameters()}
    assert found == {(torch.float16, False), (torch.float32, True)}

    base = AutoModelForCausalLM.from_pretrained("data/nano", dtype=torch.bfloat16)
    for wanted, frozen in ((torch.bfloat16, True), (torch.float32, True), (torch.float16, False)):
        assert in_format(base, wanted, frozen, on_cpu=False).dtype is torch.bfloat16
    base.quantization_method = "bitsandbytes"
    assert in_format(base, torch.float16, True, on_cpu=False).dtype is torch.bfloat16


def dtypes(chain: Path, folder: Path, *overrides: str) -> tuple[set[str], set[str], str]:
    """The number formats of frozen and of trained weights in one step of a real training, and what it printed."""
    said = train(chain, folder, "max_steps=1", "print_param_status=true", "val_size=0", "do_eval=false", *overrides)
    found = re.findall(r"^name: .*, dtype: torch\.(\w+), device: cpu, trainable: (\w+)", said, re.MULTILINE)
    frozen, trained = ({dtype for dtype, trains in found if trains == which} for which in ("False", "True"))
    return frozen, trained, said


@pytest.mark.train
def test_the_base_model_is_computed_in_the_format_however_it_was_published(chain: Path, tmp_path: Path) -> None:
    """nano's weights are stored in bfloat16; the copy's configuration loads them so, nano's own as float32."""
    copied = tmp_path / "halved"
    shutil.copytree(ROOT / "data/nano", copied)
    config = json.loads((copied / "config.json").read_text())
    (copied / "config.json").write_text(json.dumps(config | {"dtype": "bfloat16"}))
    published = f"model_name_or_path={copied}"
    assert dtypes(chain, tmp_path / "a", published)[:2] == ({"float32"}, {"float32"})
    for number, base in enumerate((published, "model_name_or_path=data/nano")):
        frozen, trained, said = dtypes(chain, tmp_path / f"b{number}", base, "bf16=true")
        assert (frozen, trained) == ({"bfloat16"}, {"float32"})
        assert "compute dtype: torch.bfloat16" in said
    # A full fine-tuning rounds nothing: what it trains stays as precise as it was.
    full = ["finetuning_type=full", "bf16=true", "loraplus_lr_ratio=null", "num_train_epochs=1"]
    assert dtypes(chain, tmp_path / "c", "model_name_or_path=data/nano", *full)[:2] == (set(), {"float32"})
