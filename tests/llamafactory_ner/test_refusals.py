"""What cannot work is refused in one line, with exit status 2, before any model loads."""

import json
import os
import shutil
from pathlib import Path

import pytest

from llamafactory_ner.checks.arguments import base_folder_problem
from support import ROOT

pytestmark = pytest.mark.train


@pytest.mark.parametrize("method", ["p_tuning", "prefix_tuning"])
@pytest.mark.parametrize(
    ("argument", "named"),
    [
        ({"lora_rank": 8}, "lora_rank"),
        ({"lora_target": "all", "use_dora": True}, "lora_target, use_dora"),
        ({"create_new_adapter": True}, "create_new_adapter"),
        ({"freeze_trainable_layers": 2}, "freeze_trainable_layers"),
        ({"packing": True}, "packing"),
        ({"neat_packing": True}, "neat_packing"),
        ({"use_galore": True}, "use_galore"),
        ({"use_unsloth": True}, "use_unsloth"),
        ({"stage": "dpo"}, "stage dpo"),
        ({"num_virtual_tokens": 0}, "num_virtual_tokens: 0"),
        ({"pre_seq_len": 9}, "are the same setting"),
        ({"num_virtual_tokens": 900}, "num_virtual_tokens 900 + cutoff_len 512 exceeds the 1024 positions"),
        ({"export_dir": "merged"}, "ner-model export"),
        ({"deepspeed": '{"zero_optimization": {"stage": 3}}'}, "ZeRO-2"),
    ],
)
def test_arguments_that_do_not_act_on_a_soft_prompt_are_named(method, argument, named, refused) -> None:
    assert named in refused(finetuning_type=method, **argument)


def test_zero_3_in_a_configuration_file_is_refused(refused, tmp_path: Path) -> None:
    (tmp_path / "ds.json").write_text('{"zero_optimization": {"stage": 3}}')
    assert "ZeRO-2" in refused(finetuning_type="p_tuning", deepspeed=str(tmp_path / "ds.json"))


def test_a_soft_prompt_under_fsdp_of_accelerate_is_refused(refused, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ACCELERATE_USE_FSDP", "true")
    assert "fsdp does not work with p_tuning: use plain data parallelism" in refused(finetuning_type="p_tuning")


@pytest.mark.parametrize(
    ("argument", "named"),
    [
        ({"deepspeed": "no.json"}, "deepspeed: no.json: no such file; name one in recipes/deepspeed/"),
        ({"deepspeed": str(ROOT / "recipes/deepspeed/z3.json")}, "deepspeed: "),
        ({"fsdp": "full_shard", "fsdp_config": "no.json"}, "fsdp_config: no.json: no such file; name one in recipes/"),
        ({"fsdp": ["full_shard", "auto_wrap"]}, "fsdp: only under torchrun; set FORCE_TORCHRUN=1 before the command"),
    ],
)
def test_what_spreads_a_training_needs_its_file_and_torchrun(argument, named, refused) -> None:
    assert named in refused(finetuning_type="lora", num_virtual_tokens=None, **argument)


# The functions with which `llamafactory-cli export`, `api` and `chat` read their arguments.
INFERENCE = {"do_train": None, "per_device_train_batch_size": None, "learning_rate": None, "num_train_epochs": None}
INFERENCE |= dict.fromkeys(("logging_steps", "disable_tqdm", "save_strategy", "report_to", "use_cpu"))


@pytest.mark.parametrize("method", ["p_tuning", "prefix_tuning"])
@pytest.mark.parametrize(
    ("command", "argument", "named"),
    [
        ("export_model", {"export_dir": "merged"}, "cannot be merged into the weights; use `ner-model export`"),
        ("get_infer_args", {"infer_backend": "vllm"}, "infer_backend vllm does not support"),
        ("get_infer_args", {"infer_backend": "sglang"}, "infer_backend sglang does not support"),
    ],
)
def test_commands_that_do_not_train_refuse_too(method, command, argument, named, refused) -> None:
    from llamafactory.train import tuner

    def entry(args):
        return getattr(tuner, command)({name: value for name, value in args.items() if name != "output_dir"})

    assert named in refused(entry, finetuning_type=method, **INFERENCE, **argument)


def test_a_recipe_is_refused_by_the_command_of_another(refused) -> None:
    from llamafactory.train.tuner import export_model

    assert refused(finetuning_type="lora", export_dir="merged").endswith(
        "export_dir: this recipe merges; use `make merge` or `llamafactory-cli export`"
    )
    assert refused(export_model, finetuning_type="lora").endswith(
        "do_train: this recipe trains; use `make train` or `llamafactory-cli train`"
    )


@pytest.mark.parametrize(
    "given",
    [{}, {"eval_strategy": "no", "load_best_model_at_end": True}, {"eval_strategy": "steps", "val_size": 0.5}],
)
def test_early_stopping_without_evaluations_or_the_best_model_is_refused(given, refused) -> None:
    needed = "it needs eval_strategy: steps and load_best_model_at_end: true"
    assert needed in refused(finetuning_type="lora", num_virtual_tokens=None, early_stopping_steps=2, **given)


@pytest.mark.parametrize("method", ["p_tuning", "prefix_tuning"])
def test_a_quantised_base_is_let_through(method, run_exp, recipe) -> None:
    """llamafactory allows it for its own adapters only."""
    from llamafactory.hparams import get_train_args

    model_args, _, _, finetuning_args, _ = get_train_args(recipe(finetuning_type=method, quantization_bit=4))
    assert (model_args.quantization_bit, finetuning_args.finetuning_type) == (4, method)


def test_all_problems_are_named_at_once(refused) -> None:
    line = refused(finetuning_type="p_tuning", lora_rank=8, packing=True, prefix_projection=True)
    assert "lora_rank" in line and "packing" in line and "prefix_projection" in line


def test_an_mlp_width_without_an_mlp_is_refused(refused) -> None:
    assert "prefix_projection: true" in refused(finetuning_type="prefix_tuning", prompt_encoder_hidden_size=16)


@pytest.mark.parametrize("method", ["lora", "full"])
def test_soft_prompt_arguments_for_another_method_are_refused(method, refused) -> None:
    line = refused(finetuning_type=method, num_virtual_tokens=None, pre_seq_len=16)
    assert "pre_seq_len: only for finetuning_type p_tuning or prefix_tuning" in line


def write_adapter(folder: Path, **changes: object) -> str:
    folder.mkdir()
    config = {"peft_type": "P_TUNING", "num_virtual_tokens": 7, "num_layers": 3, "token_dim": 48}
    (folder / "adapter_config.json").write_text(json.dumps(config | changes))
    return str(folder)


def test_an_adapter_of_another_method_is_refused_and_named(refused, tmp_path: Path) -> None:
    adapter = write_adapter(tmp_path / "a")
    assert "is a p_tuning adapter: set finetuning_type: p_tuning" in refused(
        finetuning_type="lora", num_virtual_tokens=None, adapter_name_or_path=adapter
    )
    assert "is a p_tuning adapter" in refused(finetuning_type="prefix_tuning", adapter_name_or_path=adapter)


def test_an_adapter_of_another_base_is_refused(refused, tiny_qwen2, tmp_path: Path) -> None:
    layers = write_adapter(tmp_path / "layers", num_layers=28)
    assert f"(layers 28, {tiny_qwen2} has 3)" in refused(finetuning_type="p_tuning", adapter_name_or_path=layers)
    width = write_adapter(tmp_path / "width", peft_type="PREFIX_TUNING", token_dim=48)
    assert f"(width 48, {tiny_qwen2} has 24)" in refused(finetuning_type="prefix_tuning", adapter_name_or_path=width)


def test_a_lora_adapter_of_another_shape_is_refused(refused, tiny_qwen2, tmp_path: Path) -> None:
    import torch
    from safetensors.torch import save_file

    lora = {"finetuning_type": "lora", "num_virtual_tokens": None}
    for layer, width, said in (
        (27, 48, "(layers 28, {} has 3)"),
        (1, 48, "(layers 2, {} has 3)"),
        (2, 64, "(width 64, {} has 48)"),
    ):
        name = f"base_model.model.model.layers.{layer}.self_attn.q_proj.lora_A.weight"
        adapter = write_adapter(tmp_path / f"{layer}-{width}", peft_type="LORA", target_modules=["q_proj"])
        save_file({name: torch.zeros(8, width)}, f"{adapter}/adapter_model.safetensors")
        assert said.format(tiny_qwen2) in refused(**lora, adapter_name_or_path=adapter)


@pytest.mark.parametrize("method", ["lora", "p_tuning"])
def test_an_adapter_of_a_base_of_the_same_shape_is_refused(method, refused, tiny_qwen2: Path, tmp_path: Path) -> None:
    from transformers import Qwen2Config, Qwen2ForCausalLM

    Qwen2ForCausalLM(Qwen2Config.from_pretrained(tiny_qwen2)).save_pretrained(tmp_path / "other")
    kind = {"peft_type": "LORA"} if method == "lora" else {}
    adapter = write_adapter(tmp_path / "a", base_model_name_or_path=str(tmp_path / "other"), **kind)
    line = refused(finetuning_type=method, num_virtual_tokens=None, adapter_name_or_path=adapter)
    assert f"another base (the weights in {tiny_qwen2} differ); name {tmp_path / 'other'}" in line


@pytest.mark.parametrize(
    ("trained_on", "warned"),
    [("gone/other", True), ("gone/tiny_qwen20", False), ("gone/tiny_qwen20-GLM", False), (None, False)],
)
def test_a_base_of_another_name_is_warned_of(trained_on, warned, run_exp, recipe, tmp_path: Path, capsys) -> None:
    from llamafactory.hparams import get_train_args

    shutil.copytree(recipe()["model_name_or_path"], base := tmp_path / "tiny_qwen20")
    adapter = write_adapter(
        tmp_path / "a", peft_type="PREFIX_TUNING", token_dim=24, base_model_name_or_path=trained_on
    )
    changes = {"model_name_or_path": str(base), "adapter_name_or_path": adapter}
    get_train_args(recipe(finetuning_type="prefix_tuning", **changes))
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("llamafactory_ner: warning: ")]
    assert len(lines) == warned
    assert not warned or f"was trained on gone/other, not on {base}" in lines[0]


def test_an_adapter_of_another_length_is_refused(refused, tmp_path: Path) -> None:
    adapter = write_adapter(tmp_path / "a")
    line = refused(finetuning_type="p_tuning", num_virtual_tokens=8, adapter_name_or_path=adapter)
    assert "has 7 virtual tokens, not 8" in line


@pytest.mark.parametrize("use", [{}, {"do_train": None, "do_predict": True, "predict_with_generate": True}])
def test_the_context_must_hold_the_adapter_s_own_length(use, refused, recipe, run_exp, tmp_path: Path) -> None:
    from llamafactory.hparams import get_train_args

    prefix = {"peft_type": "PREFIX_TUNING", "token_dim": 24}
    short = write_adapter(tmp_path / "short", **prefix)
    long = write_adapter(tmp_path / "long", **prefix, num_virtual_tokens=600)
    args = use | {"finetuning_type": "prefix_tuning", "num_virtual_tokens": None, "eval_dataset": "toy_dev"}
    get_train_args(recipe(**args, adapter_name_or_path=short, cutoff_len=900))
    line = refused(**args, adapter_name_or_path=long)
    assert "num_virtual_tokens 600 + cutoff_len 512 exceeds the 1024 positions" in line and "/long has" in line


def test_training_on_from_an_adapter_without_its_encoder_is_refused(refused, tmp_path: Path) -> None:
    adapter = write_adapter(tmp_path / "a")
    assert "prompt_encoder.safetensors" in refused(finetuning_type="p_tuning", adapter_name_or_path=adapter)


def test_a_broken_adapter_configuration_is_refused(refused, tmp_path: Path) -> None:
    adapter = write_adapter(tmp_path / "a")
    (tmp_path / "a/adapter_config.json").write_text('{"peft_type": ')
    line = refused(finetuning_type="p_tuning", adapter_name_or_path=adapter)
    assert "/a/adapter_config.json:1: not JSON (Input data was truncated); restore the file" in line


@pytest.mark.parametrize("inline", [True, False])
def test_a_broken_deepspeed_configuration_is_refused(inline: bool, refused, tmp_path: Path) -> None:
    path = tmp_path / "ds.json"
    path.write_text('{"zero_optimization": ')
    line = refused(finetuning_type="p_tuning", deepspeed=path.read_text() if inline else str(path))
    assert "not JSON (Input data was truncated" in line and (
        "deepspeed: " in line if inline else "/ds.json:1: " in line
    )


@pytest.mark.parametrize(
    "model", ["models/nowhere", "/nowhere", "./nowhere", "..", "nowhere", "a/b/c", "~/model", "tests/x"]
)
def test_a_folder_without_a_model_is_refused(model: str, refused, monkeypatch, tmp_path: Path) -> None:
    (tmp_path / "tests").mkdir()
    monkeypatch.chdir(tmp_path)
    line = refused(finetuning_type="lora", num_virtual_tokens=None, model_name_or_path=model)
    assert f"model_name_or_path {model}: no model there (no config.json); run `make download`, name the folder" in line


def test_a_model_that_may_be_on_a_hub_is_left_to_llamafactory() -> None:
    assert base_folder_problem("Qwen/Qwen2-7B-Instruct") is base_folder_problem(None) is None


@pytest.mark.parametrize("written", ["{}", "./{}/", "link"])
def test_another_template_than_the_described_model_s_is_refused(
    written: str, refused, run_exp, recipe, tiny_qwen2: Path, tmp_path: Path, monkeypatch
) -> None:
    from llamafactory.hparams import get_infer_args, get_train_args

    (tmp_path / "link").symlink_to(tiny_qwen2)
    for name, weights in (("tiny", tiny_qwen2), ("other", "models/other")):
        (tmp_path / "recipes" / name).mkdir(parents=True)
        text = f"weights: '{weights}'\nneeds_gpu: false\ntemplate: qwen\n"
        (tmp_path / "recipes" / name / "model.yaml").write_text(text)
    (tmp_path / "recipes/broken").mkdir()
    (tmp_path / "recipes/broken/model.yaml").write_text("weights: [")
    monkeypatch.chdir(tmp_path)
    model = written.format(os.path.relpath(tiny_qwen2))
    lora = {"finetuning_type": "lora", "num_virtual_tokens": None, "model_name_or_path": model}
    asked = (
        "servers ask '{}' with its own chat template, 'qwen' in recipes/tiny/model.yaml; leave template out, or copy"
    )
    assert f"template is 'vicuna', but {asked.format(model)}" in refused(**lora, template="vicuna")
    infer = {"model_name_or_path": model, "finetuning_type": "lora", "template": "vicuna"}
    with pytest.raises(SystemExit):
        get_infer_args(infer)
    for template in ("qwen", None):
        get_train_args(recipe(**lora, template=template))
    shutil.copytree(tiny_qwen2, "elsewhere")
    get_train_args(recipe(**lora | {"model_name_or_path": "elsewhere", "template": "vicuna"}))


# --- data sets -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["lora", "p_tuning"])
@pytest.mark.parametrize(
    ("argument", "name"),
    [
        ({"dataset": "river_train"}, "river_train"),
        ({"dataset": "toy_train, river_train"}, "river_train"),
        ({"dataset": ["toy_train", "river_train"]}, "river_train"),
        ({"eval_dataset": "river_dev"}, "river_dev"),
    ],
)
def test_a_data_set_that_is_not_registered_is_refused(method, argument, name, refused) -> None:
    length = None if method == "lora" else 7
    line = refused(finetuning_type=method, num_virtual_tokens=length, **argument)
    assert (
        f"the data set '{name}' is not registered in" in line and "dataset_info.json; run `make data CORPUS=" in line
    )


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (None, ": no such file; run `make data`"),
        (b'{"toy_train": {', ":1: not JSON (Input data was truncated)"),
        ('{"toy_train": "坏"}'.encode("gbk"), ":1: not UTF-8 at byte 15"),
        (b"[]", ": not an object"),
        (b'{"toy_train": "toy.json"}', ": the entry 'toy_train' names no file"),
        (b'{"toy_train": {"columns": {}}}', ": the entry 'toy_train' names no file"),
        (
            b'\xef\xbb\xbf{"toy_train": {"file_name": "toy_train.json"}}',
            ": has characters that llamafactory cannot read",
        ),
        (b"[" * 100_000, ":1: not JSON (nested more than"),
    ],
)
def test_a_broken_registry_is_refused(content: bytes | None, problem: str, refused, tmp_path: Path) -> None:
    if content is not None:
        (tmp_path / "dataset_info.json").write_bytes(content)
    line = refused(finetuning_type="lora", num_virtual_tokens=None, dataset_dir=str(tmp_path))
    assert f"{tmp_path}/dataset_info.json{problem}" in line


def test_data_sets_that_are_not_in_a_local_registry_are_left_to_llamafactory(run_exp, recipe, tmp_path: Path) -> None:
    from llamafactory.hparams import get_train_args

    hub = {"there": {"hf_hub_url": "org/there"}, "script": {"script_url": "x.py"}}
    (tmp_path / "dataset_info.json").write_text(json.dumps(hub))
    lora = {"finetuning_type": "lora", "num_virtual_tokens": None}
    for folder, name in ((tmp_path, "there,script"), ("ONLINE", "org/there"), ("REMOTE:org/registry", "there")):
        _, data_args, *_ = get_train_args(recipe(**lora, dataset_dir=str(folder), dataset=name))
        assert data_args.dataset == name.split(",")
    (tmp_path / "tokenised").mkdir()
    (tmp_path / "tokenised/dataset_dict.json").write_text("{}")
    get_train_args(recipe(**lora, dataset="river_train", tokenized_path=str(tmp_path / "tokenised")))
