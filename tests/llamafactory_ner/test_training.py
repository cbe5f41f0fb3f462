"""Real training runs of the stock llamafactory on a tiny model: soft prompts can do whatever LoRA can."""

import json
from pathlib import Path

import pytest

pytestmark = pytest.mark.train

METHODS = [
    pytest.param({"finetuning_type": "p_tuning"}, id="p_tuning"),
    pytest.param({"finetuning_type": "prefix_tuning"}, id="prefix_tuning"),
    pytest.param({"finetuning_type": "prefix_tuning", "prefix_projection": True}, id="prefix_projection"),
]


def prompt_of(folder: Path):
    from safetensors.torch import load_file

    return load_file(folder / "adapter_model.safetensors")["prompt_embeddings"]


def losses(folder: Path) -> list[float]:
    state = json.loads((folder / "trainer_state.json").read_text())
    return [entry["loss"] for entry in state["log_history"] if "loss" in entry]


@pytest.mark.parametrize("method", METHODS)
def test_training_lowers_the_loss_and_saves_what_lora_saves(method, run_exp, recipe, tmp_path: Path) -> None:
    evaluation = {"eval_dataset": "toy_dev", "eval_strategy": "steps", "eval_steps": 6, "plot_loss": True}
    args = recipe(**method, **evaluation, num_train_epochs=3, learning_rate=0.1)
    run_exp(args)
    out = tmp_path / "out"
    per_step = losses(out)
    assert sum(per_step[-6:]) < sum(per_step[:6])
    history = json.loads((out / "trainer_state.json").read_text())["log_history"]
    assert len([entry for entry in history if "eval_loss" in entry]) == 3
    assert (out / "training_loss.png").exists() and (out / "training_eval_loss.png").exists()
    config = json.loads((out / "adapter_config.json").read_text())
    assert config["num_virtual_tokens"] == 7
    assert config["base_model_name_or_path"] == args["model_name_or_path"]
    weights = [*out.rglob("*.safetensors")]
    assert weights and {path.stat().st_mode & 0o444 for path in weights} == {out.stat().st_mode & 0o444}


def test_a_training_is_recorded_without_its_secrets(run_exp, recipe, tmp_path: Path) -> None:
    args = recipe(finetuning_type="p_tuning", hf_hub_token="hf_secret", max_steps=1)
    run_exp(args)
    record = json.loads((tmp_path / "out/ner_training.json").read_text())
    assert record["recipe"] is None  # the arguments came from Python
    assert record["arguments"] == {name: value for name, value in args.items() if name != "hf_hub_token"}


@pytest.mark.parametrize("method", METHODS)
def test_a_resumed_run_ends_where_an_uninterrupted_one_ends(method, run_exp, recipe, tmp_path: Path) -> None:
    import torch

    schedule = {"num_train_epochs": 2, "save_strategy": "steps", "save_steps": 6}
    run_exp(recipe(**method, **schedule, output_dir=str(tmp_path / "whole")))
    checkpoint = str(tmp_path / "whole" / "checkpoint-6")
    run_exp(recipe(**method, **schedule, output_dir=str(tmp_path / "resumed"), resume_from_checkpoint=checkpoint))
    # A run from the start would end there too: both are seeded.
    log = (tmp_path / "resumed" / "trainer_log.jsonl").read_text().splitlines()
    assert [row["current_steps"] for row in map(json.loads, log) if "loss" in row] == [7, 8, 9, 10, 11, 12]
    assert [path.name for path in (tmp_path / "resumed").glob("checkpoint-*")] == ["checkpoint-12"]
    assert torch.equal(prompt_of(tmp_path / "whole"), prompt_of(tmp_path / "resumed"))
    assert not torch.equal(prompt_of(tmp_path / "whole"), prompt_of(tmp_path / "whole" / "checkpoint-6"))


@pytest.mark.parametrize("method", METHODS)
def test_further_training_starts_from_the_adapter(method, run_exp, recipe, tmp_path: Path) -> None:
    import torch

    run_exp(recipe(**method, output_dir=str(tmp_path / "first")))
    again = recipe(**method, adapter_name_or_path=str(tmp_path / "first"), learning_rate=1e-9, num_virtual_tokens=None)
    run_exp(again)
    before, after = prompt_of(tmp_path / "first"), prompt_of(tmp_path / "out")
    assert torch.allclose(before, after, atol=1e-5)


def test_pre_seq_len_is_another_name_of_num_virtual_tokens(run_exp, recipe, tmp_path: Path) -> None:
    run_exp(recipe(finetuning_type="p_tuning", num_virtual_tokens=None, pre_seq_len=5, prompt_encoder_hidden_size=8))
    config = json.loads((tmp_path / "out" / "adapter_config.json").read_text())
    assert config["num_virtual_tokens"] == 5 and config["encoder_hidden_size"] == 8
    assert prompt_of(tmp_path / "out").shape == (5, 48)


@pytest.mark.parametrize("method", METHODS)
def test_gradient_checkpointing_recomputes_the_layers_and_trains_the_same(
    method, run_exp, recipe, tmp_path: Path, monkeypatch
) -> None:
    import torch
    from transformers.models.qwen2.modeling_qwen2 import Qwen2MLP

    calls = {"n": 0}
    forward = Qwen2MLP.forward

    def counting(self, x):
        calls["n"] += 1
        return forward(self, x)

    monkeypatch.setattr(Qwen2MLP, "forward", counting)
    counts = []
    for name, disabled in (("recomputed", False), ("kept", True)):
        calls["n"] = 0
        out = str(tmp_path / name)
        run_exp(recipe(**method, output_dir=out, disable_gradient_checkpointing=disabled, max_steps=3))
        counts.append(calls["n"])
    assert counts == [3 * 3 * 2, 3 * 3]  # layers * steps, twice with recomputation
    assert torch.allclose(prompt_of(tmp_path / "recomputed"), prompt_of(tmp_path / "kept"), atol=1e-6)
    assert losses(tmp_path / "recomputed") == pytest.approx(losses(tmp_path / "kept"), abs=1e-5)


def test_a_long_training_can_go_back_to_its_best_checkpoint(run_exp, recipe, tmp_path: Path) -> None:
    import torch

    best = {"load_best_model_at_end": True, "metric_for_best_model": "eval_loss", "greater_is_better": True}
    steps = {"eval_strategy": "steps", "eval_steps": 3, "save_strategy": "steps", "save_steps": 3}
    run_exp(recipe(finetuning_type="p_tuning", eval_dataset="toy_dev", num_train_epochs=2, **best, **steps))
    state = json.loads((tmp_path / "out" / "trainer_state.json").read_text())
    chosen = Path(state["best_model_checkpoint"])
    assert chosen.name != f"checkpoint-{state['global_step']}"  # the worst, in fact: the loss falls
    assert torch.equal(prompt_of(tmp_path / "out"), prompt_of(chosen))
