"""`share_prompt` computes less and trains the same: losses, gradients, weights and evaluations of padded batches."""

import itertools
import json
import random
from pathlib import Path

import pytest

from chatglm_support import bare_glm
from llamafactory_ner.shared_rows import GROUP_COST, IGNORED, grouped, shared_row

pytestmark = pytest.mark.train

VOCABULARY = 256
PROMPTS = {"one prompt": (40,), "two prompts": (40, 25), "no common token": (0,)}


def tokens(rng: random.Random, count: int) -> list[int]:
    return [rng.randrange(2, VOCABULARY) for _ in range(count)]


def record(rng: random.Random, prompt: list[int], all_labelled: bool = False) -> dict[str, list[int]]:
    text, answer = tokens(rng, rng.randrange(1, 30)), tokens(rng, rng.randrange(1, 12))
    before = prompt + text
    return {"input_ids": before + answer, "labels": (before if all_labelled else [IGNORED] * len(before)) + answer}


def records(kind: str, count: int = 8) -> list[dict[str, list[int]]]:
    rng = random.Random(kind)
    if kind == "one record":
        return [record(rng, tokens(rng, 40))]
    if kind == "labels in the prompt":
        prompt = tokens(rng, 40)
        return [record(rng, prompt, all_labelled=True) for _ in range(count)]
    if kind == "one the beginning of another, two the same":
        made = records("one prompt")
        beginning = {name: values[:45] for name, values in made[0].items()}
        return [*made, beginning, dict(made[1])]
    prompts = [tokens(rng, length) for length in PROMPTS[kind]]
    return [record(rng, prompts[n % len(prompts)]) for n in range(count)]


def padded(features):
    import torch

    longest = max(len(feature["input_ids"]) for feature in features)

    def column(name: str, filler: int):
        return torch.tensor([f[name] + [filler] * (longest - len(f[name])) for f in features])

    mask = column("labels", 0) * 0
    for row, feature in zip(mask, features, strict=True):
        row[: len(feature["input_ids"])] = 1
    return {"input_ids": column("input_ids", 0), "labels": column("labels", IGNORED), "attention_mask": mask}


def qwen2(**sizes):
    import torch
    from transformers import Qwen2Config, Qwen2ForCausalLM

    torch.manual_seed(0)
    shape = {"hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 3, "num_attention_heads": 4}
    return Qwen2ForCausalLM(Qwen2Config(vocab_size=VOCABULARY, initializer_range=0.1, **(shape | sizes)))


def tiny(kind: str):
    from transformers import AutoConfig, AutoModelForCausalLM

    shape = {"hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2, "num_attention_heads": 4}
    shape |= {"num_key_value_heads": 2, "head_dim": 16}
    return AutoModelForCausalLM.from_config(AutoConfig.for_model(kind, vocab_size=VOCABULARY, **shape))


def nano():
    from transformers import AutoModelForCausalLM

    from support import ROOT

    return AutoModelForCausalLM.from_pretrained(ROOT / "data/nano")


MODELS = {
    "two key heads, tied": lambda: qwen2(num_key_value_heads=2, tie_word_embeddings=True),
    "one key head, untied": lambda: qwen2(num_key_value_heads=1, tie_word_embeddings=False),
    "glm": bare_glm,
    "nano": nano,
}
KINDS = [*PROMPTS, "one record", "labels in the prompt", "one the beginning of another, two the same"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", MODELS)
def test_loss_and_gradients_are_those_of_the_padded_batch(name: str, kind: str) -> None:
    import torch

    from llamafactory_ner.shared_attention import IMPLEMENTATIONS, register

    register()
    model, features = MODELS[name](), records(kind)

    def gradient(batch, attention: str):
        model.set_attn_implementation(attention)
        model.zero_grad()
        loss = model(**batch, use_cache=False, num_items_in_batch=batch["labels"].ne(IGNORED).sum()).loss
        loss.backward()
        return loss.detach(), torch.cat([weights.grad.flatten() for weights in model.parameters()])

    whole, shared = padded(features), shared_row(features)
    loss, expected = gradient(whole, "sdpa")
    shared_loss, found = gradient(shared, IMPLEMENTATIONS["sdpa"])
    assert torch.allclose(shared_loss, loss, rtol=1e-5)
    assert (found - expected).norm() / expected.norm() < 1e-5
    assert shared["input_ids"].shape[1] <= whole["attention_mask"].sum()
    if kind in ("one prompt", "two prompts"):
        assert shared["input_ids"].shape[1] < 0.6 * whole["attention_mask"].sum()
    # A CPU runs flex_attention without gradients only.
    model.set_attn_implementation(IMPLEMENTATIONS["flex_attention"])
    with torch.no_grad():
        flex = model(**shared_row(features), use_cache=False).loss
    model.set_attn_implementation(IMPLEMENTATIONS["sdpa"])
    with torch.no_grad():
        assert torch.allclose(flex, model(**shared_row(features), use_cache=False).loss, rtol=1e-5)


@pytest.mark.parametrize("name", [*MODELS, "qwen3", "llama"])
def test_the_loss_in_pieces_has_the_same_gradients(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    from llamafactory_ner import label_loss, shared_attention

    monkeypatch.setattr(label_loss, "PIECE", 7)
    shared_attention.register()
    model = MODELS[name]() if name in MODELS else tiny(name)
    model.set_attn_implementation(shared_attention.IMPLEMENTATIONS["sdpa"])
    model.get_output_embeddings().weight.requires_grad_(False)
    row = shared_row(records("two prompts"))
    assert row["shift_labels"].numel() % 7

    def gradient(**given):
        model.zero_grad()
        output = model(**row, use_cache=False, **given)
        (3 * output.loss).backward()
        trained = [weights.grad.flatten() for weights in model.parameters() if weights.requires_grad]
        return output, torch.cat(trained)

    whole, expected = gradient(num_items_in_batch=torch.tensor(100))
    whole_mean, _ = gradient()
    label_loss.register(model)
    found, gradients = gradient(num_items_in_batch=torch.tensor(100))
    assert (whole.logits.dim(), found.logits.dim()) == (3, 0), "the scores of all labels were computed at once"
    assert torch.allclose(found.loss, whole.loss, rtol=1e-5)
    assert (gradients - expected).norm() / expected.norm() < 1e-5
    with torch.no_grad():
        assert torch.allclose(model(**row, use_cache=False).loss, whole_mean.loss, rtol=1e-5)
        generated = model(input_ids=row["input_ids"][:, :5], use_cache=False)
    assert generated.logits.shape == (1, 5, model.config.vocab_size)


@pytest.mark.parametrize("change", ["trained", "another type"])
def test_models_whose_loss_is_something_else_keep_it(change: str) -> None:
    from llamafactory_ner import label_loss

    model = qwen2()
    head = model.get_output_embeddings()
    head.weight.requires_grad_(change == "trained")
    model.config.model_type = "qwen2" if change == "trained" else "gemma2"  # which caps its scores
    before = model.forward, head.forward, model.loss_function
    label_loss.register(model)
    assert (model.forward, head.forward, model.loss_function) == before


def test_records_are_divided_into_the_best_groups_of_neighbours() -> None:
    rng = random.Random(3)
    several = 0
    for _ in range(200):
        prompts = [tokens(rng, rng.randrange(0, 60)) for _ in range(3)]
        ids = [rng.choice(prompts) + tokens(rng, rng.randrange(1, 9)) for _ in range(6)]
        groups = grouped(ids)
        assert sorted(index for _, members in groups for index in members) == list(range(6))
        for prefix, members in groups:
            assert len({tuple(ids[member][:prefix]) for member in members}) == 1

        def cost(members: list[int], ids=ids) -> int:
            columns = zip(*(ids[member] for member in members), strict=False)
            common = sum(1 for _ in itertools.takewhile(lambda column: len(set(column)) == 1, columns))
            return GROUP_COST - (len(members) - 1) * common

        order = sorted(range(6), key=ids.__getitem__)
        divisions = []
        for cuts in itertools.product((False, True), repeat=5):
            ends = [0, *(n + 1 for n, cut in enumerate(cuts) if cut), 6]
            divisions.append(sum(cost(order[start:end]) for start, end in itertools.pairwise(ends)))
        assert sum(cost(members) for _, members in groups) == min(divisions)
        several += len(groups) > 1
    assert several > 50


LORA = {"finetuning_type": "lora", "num_virtual_tokens": None, "lora_target": "all"}
TRAININGS = [
    pytest.param(LORA, id="lora"),
    pytest.param(LORA | {"use_dora": True, "use_rslora": True, "loraplus_lr_ratio": 4.0}, id="dora, rslora, lora+"),
    pytest.param({"finetuning_type": "full", "num_virtual_tokens": None}, id="full"),
    pytest.param({"finetuning_type": "freeze", "num_virtual_tokens": None, "freeze_trainable_layers": 1}, id="freeze"),
    pytest.param({"finetuning_type": "p_tuning"}, id="p_tuning"),
    pytest.param({"finetuning_type": "prefix_tuning"}, id="prefix_tuning"),
    pytest.param({"finetuning_type": "prefix_tuning", "prefix_projection": True}, id="prefix_projection"),
    pytest.param(LORA | {"gradient_accumulation_steps": 3}, id="accumulation"),
    pytest.param(LORA | {"train_on_prompt": True}, id="train_on_prompt"),
    pytest.param(LORA | {"disable_gradient_checkpointing": True}, id="lora, layers kept"),
    pytest.param(LORA | {"use_reentrant_gc": False}, id="lora, recomputed without re-entrance"),
    pytest.param(
        {"finetuning_type": "prefix_tuning", "disable_gradient_checkpointing": True}, id="prefix, layers kept"
    ),
]
# Plain gradient descent: Adam would turn rounding errors of the smallest gradients into steps of full size.
DESCENT = {"optim": "sgd", "learning_rate": 0.05, "lr_scheduler_type": "constant"}


def weights_of(folder: Path):
    from safetensors.torch import load_file

    (file,) = (path for path in folder.glob("*.safetensors") if path.stem in ("model", "adapter_model"))
    return load_file(file)


def log_of(folder: Path, name: str) -> list[float]:
    history = json.loads((folder / "trainer_state.json").read_text())["log_history"]
    return [entry[name] for entry in history if name in entry]


def difference(one, other, start) -> float:
    """How far apart two trainings ended, relative to the way that they went."""
    import torch

    def flat(weights):
        return torch.cat([weights[name].float().flatten() for name in sorted(start)])

    return float((flat(one) - flat(other)).norm() / (flat(other) - flat(start)).norm())


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
    assert log_of(tmp_path / "shared", "grad_norm") == pytest.approx(
        log_of(tmp_path / "padded", "grad_norm"), rel=1e-3
    )
    assert difference(ends["shared"], ends["padded"], ends["start"]) < 1e-4


def test_evaluations_resuming_and_the_data_of_a_training_are_the_same(run_exp, recipe, tmp_path: Path) -> None:
    # Three batches of evaluation, the last one smaller; a run started without sharing goes on with it.
    steps = {"eval_dataset": "toy_dev", "eval_strategy": "steps", "eval_steps": 2, "per_device_eval_batch_size": 3}
    steps |= {"save_strategy": "steps", "save_steps": 2, "num_train_epochs": 1}
    args = recipe(**(LORA | DESCENT | steps), output_dir=str(tmp_path / "padded"))
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
        ({"shift_attn": True}, "shift_attn: unset it"),
        (
            {"mixture_of_depths": "convert", "finetuning_type": "full", "lora_target": None},
            "mixture_of_depths: unset it",
        ),
        ({"use_dft_loss": True}, "use_dft_loss: unset it"),
        ({"neftune_noise_alpha": 5.0}, "neftune_noise_alpha: unset it"),
        ({"label_smoothing_factor": 0.1}, "label_smoothing_factor: unset it"),
        ({"compute_accuracy": True}, "compute_accuracy: unset it"),
        (
            {"predict_with_generate": True, "do_predict": True, "eval_dataset": "toy_dev"},
            "predict_with_generate: unset it",
        ),
        ({"stage": "pt"}, "stage pt: use stage: sft"),
    ],
)
def test_what_cannot_share_a_prompt_is_refused_before_the_model_loads(argument, named, refused) -> None:
    line = refused(**(LORA | argument), share_prompt=True)
    assert f"share_prompt does not work with {named}" in line
    assert line.endswith("; or set share_prompt: false")


@pytest.mark.parametrize(
    ("changes", "named"),
    [
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
