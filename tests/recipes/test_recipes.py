"""Every recipe: valid for llamafactory's own argument classes, safe, described, and different only where it must be."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from support import ROOT

RECIPES = sorted((ROOT / "recipes").rglob("*.yaml"))
TRAINING = [path for path in RECIPES if not path.stem.startswith("merge")]
NAMES = [str(path.relative_to(ROOT / "recipes")) for path in RECIPES]
ALL = ("qwen2-7b", "qwen2.5-7b", "qwen2.5-0.5b", "chatglm3-6b", "nano")
READMES = (ROOT / "README.md", ROOT / "README_zh.md")


def load(path: Path) -> dict[str, Any]:
    recipe: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
    return recipe


def test_there_are_exactly_the_recipes_that_were_asked_for() -> None:
    expected = {f"{model}/{stem}.yaml" for model in ALL for stem in ("lora", "merge")}
    expected |= {f"{model}/{stem}.yaml" for model in ("chatglm3-6b", "nano") for stem in ("p_tuning", "prefix_tuning")}
    assert sorted(NAMES) == sorted(expected)


@pytest.mark.train
@pytest.mark.parametrize("path", RECIPES, ids=NAMES)
def test_llamafactory_accepts_the_recipe(path: Path, tmp_path: Path) -> None:
    from llamafactory.hparams import get_infer_args, get_train_args

    recipe = load(path)
    if path in TRAINING:
        import torch

        recipe["output_dir"] = str(tmp_path)
        if not torch.cuda.is_available():
            recipe["use_cpu"] = True  # transformers refuses bf16 on a CPU otherwise
        model_args, data_args, training_args, _, _ = get_train_args(recipe)
        assert training_args.do_train
        assert data_args.dataset_dir == "."
        assert data_args.val_size == 0.1
        assert training_args.seed == 42
    else:
        model_args, *_ = get_infer_args(recipe)
        assert model_args.export_dir
        assert model_args.export_legacy_format is False
    assert model_args.trust_remote_code is False


@pytest.mark.train
@pytest.mark.parametrize(
    "path", [path for path in TRAINING if path.parent.name != "nano"], ids=lambda path: "-".join(path.parts[-2:])
)
def test_the_documented_override_for_cards_without_bf16_is_accepted(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from llamafactory.hparams import get_train_args, read_args

    head = path.read_text(encoding="utf-8").split("\n###")[0]
    (line,) = [line for line in head.splitlines() if line.startswith("# No bf16:")]
    assert "`make serve DTYPE=half`" in line
    overrides = line.split('ARGS="')[1].split('"')[0].split()
    assert overrides == ["bf16=false", "fp16=true"]
    for readme in READMES:
        assert f'ARGS="{" ".join(overrides)}"' in re.sub(r"\s+", " ", readme.read_text(encoding="utf-8"))
    # As llamafactory-cli takes them.
    monkeypatch.setattr("sys.argv", ["train", str(path), *overrides, f"output_dir={tmp_path}"])
    model_args, _, training_args, _, _ = get_train_args(read_args())
    assert (training_args.fp16, training_args.bf16) == (True, False)
    assert str(model_args.compute_dtype) == "torch.float16"


@pytest.mark.parametrize("path", RECIPES, ids=NAMES)
def test_a_recipe_opens_with_purpose_hardware_preparation_launch_and_override(path: Path) -> None:
    head = path.read_text(encoding="utf-8").split("\n###")[0]
    for word in ("Hardware:", "Prepare:", "Launch:", "Override:"):
        assert f"# {word}" in head
    assert str(path.relative_to(ROOT)) in head


@pytest.mark.parametrize("path", TRAINING, ids=[name for name in NAMES if "merge" not in name])
def test_a_recipe_trains_on_train_only_and_can_be_resumed(path: Path) -> None:
    recipe = load(path)
    assert re.fullmatch(r"\w+_train", recipe["dataset"])
    assert "eval_dataset" not in recipe
    assert recipe["overwrite_output_dir"] is False
    assert recipe["output_dir"] == f"saves/{path.parent.name}/{path.stem}/{recipe['dataset'].removesuffix('_train')}"
    assert recipe["plot_loss"] is True
    assert recipe["report_to"] == "none"


def test_the_7b_recipes_differ_only_in_the_model() -> None:
    one, other = (load(ROOT / f"recipes/{model}/lora.yaml") for model in ("qwen2-7b", "qwen2.5-7b"))
    assert {key for key in one | other if one.get(key) != other.get(key)} == {"model_name_or_path", "output_dir"}


@pytest.mark.parametrize("model", ["qwen2-7b", "qwen2.5-7b"])
def test_the_7b_recipe_has_the_parameters_it_was_asked_for(model: str) -> None:
    recipe = load(ROOT / f"recipes/{model}/lora.yaml")
    expected = {
        "lora_rank": 8,
        "lora_target": "all",
        "cutoff_len": 1024,
        "per_device_train_batch_size": 4,
        "gradient_accumulation_steps": 8,
        "learning_rate": 1e-4,
        "num_train_epochs": 3.0,
        "lr_scheduler_type": "cosine",
        "warmup_steps": 0.1,
        "bf16": True,
        "val_size": 0.1,
        "eval_strategy": "steps",
        "eval_steps": 500,
        "save_steps": 500,
    }
    assert {key: recipe[key] for key in expected} == expected
    assert recipe.get("save_strategy", "steps") == "steps"  # llamafactory's default


@pytest.mark.parametrize("method", ["p_tuning", "prefix_tuning"])
def test_the_soft_prompts_of_chatglm3_have_128_tokens_and_say_what_is_published(method: str) -> None:
    path = ROOT / f"recipes/chatglm3-6b/{method}.yaml"
    assert load(path)["num_virtual_tokens"] == 128
    (line,) = [line for line in path.read_text(encoding="utf-8").splitlines() if line.startswith("# Published:")]
    if method == "prefix_tuning":
        assert "76.6 with 64" in line
        assert "78.69 with 128" in line
    else:  # the published figures are prefix tuning's
        assert "prefix_tuning.yaml" in line
