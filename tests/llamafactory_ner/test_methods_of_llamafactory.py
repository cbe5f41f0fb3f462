"""QLoRA, DoRA and full fine-tuning: what is refused or said before training, and the recipes themselves on nano."""

import json
import math
import shutil
from pathlib import Path

import pytest

from llamafactory_ner.progress import EVENTS, reporter
from ner_common.errors import UserError
from support import train

pytestmark = pytest.mark.train

NO_SOFT_PROMPT = {"num_virtual_tokens": None}
# What `llamafactory-cli export` does not know.
TRAINING = ("do_train", "per_device_train_batch_size", "learning_rate", "num_train_epochs", "logging_steps")
TRAINING += ("disable_tqdm", "save_strategy", "report_to", "use_cpu", "output_dir", "num_virtual_tokens")


@pytest.fixture
def export(run_exp):
    """`llamafactory-cli export` with the arguments of a training."""
    from llamafactory.train import tuner

    return lambda args: tuner.export_model({name: value for name, value in args.items() if name not in TRAINING})


def lora_adapter(folder: Path, base: Path) -> str:
    folder.mkdir()
    config = {"peft_type": "LORA", "base_model_name_or_path": str(base), "r": 8, "target_modules": ["q_proj"]}
    (folder / "adapter_config.json").write_text(json.dumps(config))
    return str(folder)


def test_an_adapter_is_merged_into_full_weights_only(refused, export, tiny_qwen2: Path, tmp_path: Path) -> None:
    merging = {
        "adapter_name_or_path": lora_adapter(tmp_path / "a", tiny_qwen2),
        "export_dir": str(tmp_path / "merged"),
    }
    said = refused(export, finetuning_type="lora", quantization_bit=4, **merging)
    assert said.endswith("export: an adapter is merged into full weights; remove quantization_bit")
    shutil.copytree(tiny_qwen2, tmp_path / "awq")
    config = json.loads((tmp_path / "awq/config.json").read_text())
    (tmp_path / "awq/config.json").write_text(json.dumps(config | {"quantization_config": {"quant_method": "awq"}}))
    said = refused(export, finetuning_type="lora", model_name_or_path=str(tmp_path / "awq"), **merging)
    assert f"export: {tmp_path}/awq is quantised, and an adapter is merged into full weights; name the folder" in said
    assert not (tmp_path / "merged").exists()


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "ner_calibration.json"])
def test_a_folder_that_holds_a_model_is_not_merged_into(
    refused, export, tiny_qwen2: Path, tmp_path: Path, name: str
) -> None:
    (tmp_path / "merged").mkdir()
    (tmp_path / "merged" / name).write_text("{}")
    merging = {
        "adapter_name_or_path": lora_adapter(tmp_path / "a", tiny_qwen2),
        "export_dir": str(tmp_path / "merged"),
    }
    said = refused(export, finetuning_type="lora", **merging)
    assert f"/merged holds a model already ({name}); remove it, or name another export_dir" in said
    assert [path.name for path in (tmp_path / "merged").iterdir()] == [name]


def test_a_whole_model_is_no_adapter_to_merge(refused, export, tiny_qwen2: Path, tmp_path: Path) -> None:
    merging = {"adapter_name_or_path": str(tiny_qwen2), "export_dir": str(tmp_path / "merged")}
    said = refused(export, finetuning_type="lora", **merging)
    assert f"{tiny_qwen2}: a whole model, not an adapter, so there is nothing to merge; serve it as it is" in said


@pytest.mark.parametrize("method", ["full", "freeze"])
def test_a_quantised_base_takes_lora_only(method: str, refused) -> None:
    said = refused(finetuning_type=method, quantization_bit=4, **NO_SOFT_PROMPT)
    assert said.endswith(f"quantization_bit does not work with {method}: remove it, or set finetuning_type: lora")


def test_a_quantised_base_without_bitsandbytes_is_refused(refused, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("llamafactory_ner.checks.arguments.installed", lambda name: None)
    said = refused(finetuning_type="lora", quantization_bit=4, **NO_SOFT_PROMPT)
    assert "quantization_bit: bitsandbytes is not installed here; `make train`" in said


@pytest.mark.parametrize("given", [{"use_dora": True}, {"additional_target": "lm_head"}, {"pissa_init": True}, {}])
def test_what_vllm_cannot_serve_is_said_before_training(given, run_exp, recipe, capsys) -> None:
    from llamafactory.hparams import get_train_args

    get_train_args(recipe(finetuning_type="lora", **NO_SOFT_PROMPT, **given))
    said = [line for line in capsys.readouterr().err.splitlines() if "vLLM serves no such adapter" in line]
    assert len(said) == len(given)
    assert all(line.startswith(f"llamafactory_ner: {name}: ") for line, name in zip(said, given, strict=True))


def test_what_the_chat_template_is_told_is_stored_with_the_prompt(chain: Path, tmp_path: Path) -> None:
    train(chain, tmp_path / "a", "max_steps=1", "save_steps=1", "enable_thinking=false")
    for folder in (tmp_path / "a", tmp_path / "a/checkpoint-1"):
        assert json.loads((folder / "ner_prompt.json").read_text())["enable_thinking"] is False


@pytest.mark.parametrize("method", ["qlora", "dora", "full"])
def test_the_recipe_trains_nano(method: str, chain: Path, tmp_path: Path) -> None:
    train(chain, tmp_path / "a", "max_steps=30", "logging_steps=10", recipe=method)
    losses = [json.loads(line).get("loss") for line in (tmp_path / "a/trainer_log.jsonl").read_text().splitlines()]
    losses = [loss for loss in losses if loss is not None]
    assert 0 < losses[-1] < 0.8 * losses[0]
    assert (tmp_path / "a/config.json").is_file() == (tmp_path / "a/model.safetensors").is_file() == (method == "full")
    if method != "full":
        config = json.loads((tmp_path / "a/adapter_config.json").read_text())
        assert (config["peft_type"], config["use_dora"]) == ("LORA", method == "dora")


def test_a_loss_that_is_not_a_number_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from types import SimpleNamespace

    from llamafactory_ner.quiet import print_result, read_events, shown

    monkeypatch.setenv(EVENTS, str(tmp_path / "events"))
    state = SimpleNamespace(is_world_process_zero=True, global_step=2, max_steps=4)
    (told,) = reporter()
    told.on_log(None, state, None, {"loss": 0.5, "eval_loss": math.nan})
    with (tmp_path / "events").open("rb") as file:
        (event,) = read_events(file)
    assert event == {"step": 2, "of": 4, "loss": 0.5, "eval_loss": None}
    assert (shown(event["loss"]), shown(event["eval_loss"])) == ("0.5000", "not a number")
    (tmp_path / "all_results.json").write_text('{\n    "eval_loss": NaN,\n    "train_loss": 0.0\n}')
    with pytest.raises(UserError, match="a loss is not a number, so the weights are useless; lower learning_rate"):
        print_result(tmp_path)
