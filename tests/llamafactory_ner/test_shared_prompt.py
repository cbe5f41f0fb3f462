"""`share_prompt` computes less and trains the same: losses, weights and evaluations of padded batches."""

import json
from pathlib import Path

import pytest

from llamafactory_ner.checks.sharing import REMEDY, sharing_problems
from shared_prompt_support import DESCENT, difference, log_of, weights_of

pytestmark = pytest.mark.train

LORA = {"finetuning_type": "lora", "num_virtual_tokens": None, "lora_target": "all"}
FULL = {"finetuning_type": "full", "num_virtual_tokens": None}
FREEZE = {"finetuning_type": "freeze", "num_virtual_tokens": None, "freeze_trainable_layers": 1}
ACCUMULATED = {"gradient_accumulation_steps": 4, "per_device_train_batch_size": 5}
TRAININGS = [
    pytest.param(LORA, id="lora"),
    pytest.param(LORA | {"use_dora": True, "use_rslora": True, "loraplus_lr_ratio": 4.0}, id="dora, rslora, lora+"),
    pytest.param(FULL, id="full"),
    pytest.param(FREEZE, id="freeze"),
    pytest.param({"finetuning_type": "p_tuning"}, id="p_tuning"),
    pytest.param({"finetuning_type": "prefix_tuning"}, id="prefix_tuning"),
    pytest.param({"finetuning_type": "prefix_tuning", "prefix_projection": True}, id="prefix_projection"),
    # 24 records: the last batch has 4 of 5 records, and the last step one of its 4 batches.
    pytest.param(LORA | ACCUMULATED, id="accumulation"),
    pytest.param(FULL | ACCUMULATED, id="full, accumulation"),
    pytest.param({"finetuning_type": "prefix_tuning"} | ACCUMULATED, id="prefix_tuning, accumulation"),
    pytest.param(LORA | {"train_on_prompt": True}, id="train_on_prompt"),
    pytest.param({"finetuning_type": "prefix_tuning", "train_on_prompt": True}, id="prefix_tuning, train_on_prompt"),
    pytest.param(LORA | {"disable_gradient_checkpointing": True}, id="lora, layers kept"),
    pytest.param(LORA | {"use_reentrant_gc": False}, id="lora, recomputed without re-entrance"),
    pytest.param(
        {"finetuning_type": "prefix_tuning", "disable_gradient_checkpointing": True}, id="prefix, layers kept"
    ),
]


@pytest.mark.parametrize("method", TRAININGS)
def test_a_training_ends_where_one_with_padded_batches_ends(method, run_exp, recipe, tmp_path: Path) -> None:
    ends = {}
    for name, changes in (
        ("start", {"learning_rate": 1e-30, "max_steps": 1}),
        ("padded", {}),
        ("shared", {"share_prompt": True}),
    ):
        run_exp(recipe(**(method | DESCENT | changes), output_dir=str(tmp_path / name)))
        ends[name] = weights_of(tmp_path / name)
    assert log_of(tmp_path / "shared", "loss") == pytest.approx(log_of(tmp_path / "padded", "loss"), rel=1e-4)
    norms = log_of(tmp_path / "padded", "grad_norm")
    assert log_of(tmp_path / "shared", "grad_norm") == pytest.approx(norms, rel=1e-4)
    assert difference(ends["shared"], ends["padded"], ends["start"]) < 1e-4


def test_with_the_same_features_dropped_a_training_ends_in_the_same_place(
    run_exp, recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What `lora_dropout` drops is drawn for every token; here by the feature only, so that both drop the same."""
    import torch

    def drop(module, values):
        kept = torch.arange(values.shape[-1]) % 3 != 0
        return values * kept / (1 - module.p) if module.training else values

    monkeypatch.setattr(torch.nn.Dropout, "forward", drop)
    args = LORA | DESCENT | {"lora_dropout": 0.3}
    for name, changes in (("padded", {}), ("shared", {"share_prompt": True}), ("none", {"lora_dropout": 0.0})):
        run_exp(recipe(**(args | changes), output_dir=str(tmp_path / name)))
    losses = {name: log_of(tmp_path / name, "loss") for name in ("padded", "shared", "none")}
    assert losses["shared"] == pytest.approx(losses["padded"], rel=1e-4)
    assert losses["none"] != pytest.approx(losses["padded"], rel=1e-4)


@pytest.mark.parametrize("finetuning_type", ["lora", "full", "freeze", "p_tuning", "prefix_tuning"])
def test_evaluations_resuming_and_the_data_of_a_training_are_the_same(
    finetuning_type: str, run_exp, recipe, tmp_path: Path
) -> None:
    method = {"lora": LORA, "full": FULL, "freeze": FREEZE}.get(finetuning_type, {"finetuning_type": finetuning_type})
    # Three batches of evaluation, the last one smaller; a run started without sharing goes on with it.
    steps = {"eval_dataset": "toy_dev", "eval_strategy": "steps", "eval_steps": 2, "per_device_eval_batch_size": 3}
    steps |= {"save_strategy": "steps", "save_steps": 2, "num_train_epochs": 1}
    args = recipe(**(method | DESCENT | steps), output_dir=str(tmp_path / "padded"))
    run_exp(args)
    run_exp(args | {"output_dir": str(tmp_path / "shared"), "share_prompt": True})
    losses = log_of(tmp_path / "padded", "eval_loss")
    assert len(losses) == 3
    assert log_of(tmp_path / "shared", "eval_loss") == pytest.approx(losses, rel=1e-5)
    checkpoint = str(tmp_path / "padded/checkpoint-2")
    resumed = {"output_dir": str(tmp_path / "resumed"), "share_prompt": True, "resume_from_checkpoint": checkpoint}
    run_exp(args | resumed)
    ends = [weights_of(tmp_path / name) for name in ("resumed", "padded", "padded/checkpoint-2")]
    assert difference(*ends) < 1e-4


def test_the_trainer_counts_the_tokens_that_were_computed(run_exp, recipe, tmp_path: Path) -> None:
    count = {"include_num_input_tokens_seen": "all", "max_steps": 2}
    for name, changes in (("padded", {}), ("shared", {"share_prompt": True})):
        run_exp(recipe(**(LORA | count | changes), output_dir=str(tmp_path / name)))
    padded_tokens, shared_tokens = (
        log_of(tmp_path / name, "num_input_tokens_seen")[-1] for name in ("padded", "shared")
    )
    assert shared_tokens < 0.8 * padded_tokens


@pytest.mark.parametrize(
    ("argument", "named"),
    [
        ({"packing": True}, "packing: unset it"),
        ({"neat_packing": True}, "neat_packing: unset it"),
        ({"streaming": True, "max_steps": 2}, "streaming: unset it"),
        ({"flash_attn": "fa2"}, "flash_attn: fa2, which cannot mask records from one another: use flash_attn: sdpa"),
        ({"flash_attn": "disabled"}, "flash_attn: disabled"),
        ({"use_unsloth": True}, "use_unsloth: unset it"),
        ({"enable_liger_kernel": True}, "enable_liger_kernel: unset it"),
        ({"use_liger_kernel": True}, "use_liger_kernel: unset it"),
        ({"use_hyper_parallel": True}, "use_hyper_parallel: unset it"),
        ({"parallelism_config": {"cp_size": 2}}, "parallelism_config: unset it"),
        ({"accelerator_config": {"dispatch_batches": True}}, "dispatch_batches: unset it"),
        ({"shift_attn": True}, "shift_attn: unset it"),
        (
            {"mixture_of_depths": "convert", "finetuning_type": "full", "lora_target": None},
            "mixture_of_depths: unset it",
        ),
        ({"use_dft_loss": True}, "use_dft_loss: unset it"),
        ({"use_eaft_loss": True}, "use_eaft_loss: unset it"),
        ({"use_asft_loss": True}, "use_asft_loss: unset it"),
        ({"use_kt": True}, "use_kt: unset it"),
        ({"moe_aux_loss_coef": 0.01}, "moe_aux_loss_coef: unset it"),
        ({"flash_attn": "fa3"}, "flash_attn: fa3"),
        ({"ignore_pad_token_for_loss": False}, "ignore_pad_token_for_loss: false: unset it"),
        ({"include_num_input_tokens_seen": "non_padding"}, "include_num_input_tokens_seen: non_padding: use all"),
        ({"neftune_noise_alpha": 5.0}, "neftune_noise_alpha: unset it"),
        ({"label_smoothing_factor": 0.1}, "label_smoothing_factor: unset it"),
        ({"compute_accuracy": True}, "compute_accuracy: unset it"),
        (
            {"predict_with_generate": True, "do_predict": True, "eval_dataset": "toy_dev"},
            "predict_with_generate: unset it",
        ),
        ({"stage": "pt"}, "stage pt: use stage: sft"),
        (
            {"finetuning_type": "p_tuning", "num_virtual_tokens": 7, "lora_target": None, "train_on_prompt": True},
            "train_on_prompt in p_tuning: unset it",
        ),
    ],
)
def test_what_cannot_share_a_prompt_is_refused_before_the_model_loads(argument, named, refused) -> None:
    line = refused(**(LORA | argument), share_prompt=True)
    assert f"share_prompt does not work with {named}" in line
    assert line.endswith("; or set share_prompt: false")


def test_megatron_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is chosen by the environment, and llamafactory does not start with it unless it is installed."""
    monkeypatch.setenv("USE_MCA", "1")
    (problem,) = sharing_problems({"share_prompt": True})
    assert (
        problem
        == "share_prompt does not work with use_mca: unset USE_MCA: Megatron trains with another loop; " + REMEDY
    )


def test_flex_attention_is_refused_on_a_cpu(refused) -> None:
    line = refused(**LORA, share_prompt=True, share_prompt_attention="flex_attention")
    assert "share_prompt_attention: flex_attention does not train on a CPU" in line and "use sdpa" in line


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"model_type": "gemma2", "attn_logit_softcapping": 50.0}, "has attn_logit_softcapping: 50.0"),
        ({"attention_dropout": 0.1}, "has attention_dropout: 0.1"),
        ({"use_sliding_window": True, "sliding_window": 256, "max_window_layers": 0}, "slides over 256 tokens"),
        ({"architectures": ["MambaForCausalLM"], "model_type": "mamba"}, "does not let its attention be replaced"),
        ({"model_type": "qwen2_vl"}, "only language models that take nothing but text can"),
    ],
)
def test_models_that_cannot_share_a_prompt_are_refused(
    changes, named, run_exp, recipe, tiny_qwen2, tmp_path: Path, capsys
) -> None:
    model = tmp_path / "model"
    model.mkdir()
    for file in tiny_qwen2.iterdir():
        if file.suffix == ".json":  # no weights: loading them would fail
            (model / file.name).write_bytes(file.read_bytes())
    config = json.loads((model / "config.json").read_text())
    config.pop("layer_types", None)
    (model / "config.json").write_text(json.dumps(config | changes))
    with pytest.raises(SystemExit) as stopped:
        run_exp(recipe(**LORA, model_name_or_path=str(model), share_prompt=True))
    assert stopped.value.code == 2
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("llamafactory_ner: share")]
    assert named in line and line.endswith("set share_prompt: false")


def test_dropout_is_said_to_make_a_difference(run_exp, recipe, capsys) -> None:
    run_exp(recipe(**LORA, share_prompt=True, lora_dropout=0.1, max_steps=1))
    said = [line for line in capsys.readouterr().err.splitlines() if "lora_dropout: 0.1" in line]
    assert len(said) == 1 and "correct, but not identical" in said[0]


def test_cut_records_are_counted_and_trained_as_without_sharing(run_exp, recipe, tmp_path: Path, capsys) -> None:
    for name, changes in (("padded", {}), ("shared", {"share_prompt": True})):
        args = recipe(**(LORA | DESCENT | changes), cutoff_len=150, output_dir=str(tmp_path / name))
        run_exp(args)
        said = capsys.readouterr().err
        assert "records have more tokens" in said
    assert log_of(tmp_path / "shared", "loss") == pytest.approx(log_of(tmp_path / "padded", "loss"), rel=1e-4)
