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


def load(path: Path) -> dict[str, Any]:
    recipe: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
    return recipe


def test_there_are_recipes_for_every_model_of_the_makefile() -> None:
    assert {path.parent.name for path in RECIPES} >= {"qwen2-7b", "qwen2.5-7b", "qwen2.5-0.5b", "nano"}
    for model in ("qwen2-7b", "qwen2.5-7b", "qwen2.5-0.5b", "nano"):
        assert {path.stem for path in RECIPES if path.parent.name == model} >= {"lora", "merge"}


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


def test_the_7b_recipe_has_the_parameters_it_was_asked_for() -> None:
    recipe = load(ROOT / "recipes/qwen2-7b/lora.yaml")
    assert recipe["per_device_train_batch_size"] * recipe["gradient_accumulation_steps"] == 32
    expected = {
        "lora_rank": 8,
        "lora_target": "all",
        "cutoff_len": 1024,
        "learning_rate": 1e-4,
        "num_train_epochs": 3.0,
    }
    expected |= {
        "lr_scheduler_type": "cosine",
        "warmup_steps": 0.1,
        "bf16": True,
        "eval_steps": 500,
        "save_steps": 500,
    }
    assert {key: recipe[key] for key in expected} == expected
