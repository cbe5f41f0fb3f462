"""Every recipe: accepted by llamafactory's own argument classes, safe, described, and different only where needed."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from ner_models.base_models import FILE_NAME, load_base_model
from support import ROOT

YAML = sorted((ROOT / "recipes").rglob("*.yaml"))
RECIPES = [path for path in YAML if path.name != FILE_NAME]
TRAINING = [path for path in RECIPES if path.stem != "merge"]
PEFT = [path for path in TRAINING if path.stem == "peft_lora"]  # trained without llamafactory
NAMES = [str(path.relative_to(ROOT / "recipes")) for path in RECIPES]
MODELS = sorted({path.parent.name for path in YAML})
# What depends on the method: its own arguments, learning rate and epochs, and the folder and number of its results.
OF_A_METHOD = re.compile(
    r"finetuning_type|lora_\w+|loraplus_\w+|use_dora|quantization_\w+|double_quantization|num_virtual_tokens|"
    r"prompt_encoder_\w+|prefix_projection|save_total_limit"
)
SCHEDULE = {"learning_rate", "num_train_epochs", "output_dir"}
# What peft_lora.yaml leaves out, because only llamafactory knows it, and how often it evaluates and saves.
OF_LLAMAFACTORY = {"stage", "do_train", "trust_remote_code", "overwrite_cache", "preprocessing_num_workers"}
BEST_AT_END = {"eval_strategy", "eval_steps", "do_eval", "save_steps", "save_total_limit", "warmup_steps"}
BEST_AT_END |= {"load_best_model_at_end", "early_stopping_steps"}
PAGES = [ROOT / f"docs/{language}/how-to/training.md" for language in ("en", "zh")]


@pytest.fixture(autouse=True)
def _in_a_checkout(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Base models are looked up in the current folder, and so are the data sets that `make data` registers."""
    folder = tmp_path_factory.mktemp("checkout")
    (folder / "data/alpaca").mkdir(parents=True)
    for name in ("recipes", "data/nano"):
        (folder / name).symlink_to(ROOT / name)
    (folder / "data/alpaca/dataset_info.json").write_text((ROOT / "dataset_info.json").read_text())
    monkeypatch.chdir(folder)
    for model in MODELS:
        weights = load_base_model(model).weights
        if not weights.is_dir():  # nothing is loaded, but it must be there
            weights.mkdir(parents=True)
            (weights / "config.json").write_text("{}")


def load(path: Path) -> dict[str, Any]:
    recipe: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
    return recipe


def test_there_are_recipes() -> None:
    assert len(MODELS) > 1 and len(TRAINING) >= len(MODELS)


@pytest.mark.parametrize("model", MODELS)
def test_every_model_has_what_make_offers_for_it(model: str) -> None:
    """`make train` (LoRA is its default), `make merge`, and what all targets read of the model."""
    assert {"lora.yaml", "merge.yaml", FILE_NAME} <= {path.name for path in YAML if path.parent.name == model}


@pytest.mark.parametrize("model", sorted(path.name for path in (ROOT / "recipes").glob("qwen*")))
def test_every_qwen_has_all_methods_of_llamafactory(model: str) -> None:
    methods = {path.stem for path in TRAINING if path.parent.name == model}
    assert methods == {"lora", "peft_lora", "qlora", "dora", "full"}


@pytest.mark.parametrize("path", RECIPES, ids=NAMES)
def test_a_recipe_names_the_weights_and_the_template_of_its_model(path: Path) -> None:
    recipe, model = load(path), load_base_model(path.parent.name)
    assert (recipe["model_name_or_path"], recipe["template"]) == (str(model.weights), model.template)


@pytest.mark.parametrize("path", TRAINING, ids=["/".join(path.parts[-2:]) for path in TRAINING])
def test_the_methods_of_a_model_differ_only_where_the_method_differs(path: Path) -> None:
    recipe, lora = load(path), load(path.with_name("lora.yaml"))
    differing = {key for key in recipe | lora if recipe.get(key) != lora.get(key)}
    differing = {key for key in differing - SCHEDULE if not OF_A_METHOD.fullmatch(key)}
    if "num_virtual_tokens" in recipe and recipe["cutoff_len"] < lora["cutoff_len"]:
        differing.remove("cutoff_len")  # the soft prompt takes positions of the context
    if path in PEFT:
        assert not OF_LLAMAFACTORY & set(recipe)
        differing -= OF_LLAMAFACTORY | BEST_AT_END
    assert differing == set()


@pytest.mark.train
@pytest.mark.parametrize("path", RECIPES, ids=NAMES)
def test_llamafactory_accepts_the_recipe(path: Path, tmp_path: Path) -> None:
    """Those of `ner-model train` too, as a LoRA of its own: their keys are llamafactory's."""
    from llamafactory.hparams import get_infer_args, get_train_args

    recipe = load(path)
    if path in PEFT:
        recipe |= {"finetuning_type": "lora", "stage": "sft", "do_train": True}
    if path in TRAINING:
        import torch

        recipe["output_dir"] = str(tmp_path)
        if not torch.cuda.is_available():
            recipe["use_cpu"] = True  # transformers refuses bf16 on a CPU otherwise
        model_args, data_args, training_args, _, _ = get_train_args(recipe)
        assert training_args.do_train
        assert data_args.dataset_dir == "data/alpaca"
        assert data_args.val_size == 0.1
        assert training_args.seed == 42
    else:
        assert (
            recipe["export_dir"]
            == f"models/{path.parent.name}-lora-{'demo' if path.parent.name == 'nano' else 'cluener'}"
        )
        recipe["export_dir"] = str(tmp_path / "merged")  # the other may be there, which is refused
        model_args, *_ = get_infer_args(recipe)
        assert model_args.export_legacy_format is False
    assert model_args.trust_remote_code is False


@pytest.mark.train
@pytest.mark.parametrize(
    "path", [path for path in TRAINING if load(path)["bf16"]], ids=lambda path: "-".join(path.parts[-2:])
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
    for page in PAGES:
        assert f'ARGS="{" ".join(overrides)}"' in page.read_text(encoding="utf-8")
    if path in PEFT:
        from ner_models.peft_training.recipe import read_recipe

        recipe, _ = read_recipe(path.relative_to(ROOT), overrides)
        assert (recipe.fp16, recipe.bf16) == (True, False)
        return
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
        "share_prompt": True,
        "per_device_train_batch_size": 32,
        "gradient_accumulation_steps": 1,
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


@pytest.mark.train
@pytest.mark.parametrize("path", PEFT, ids=lambda path: path.parent.name)
def test_the_recipe_without_llamafactory_has_the_parameters_it_was_asked_for(path: Path, tmp_path: Path) -> None:
    from ner_models.peft_training.recipe import read_recipe
    from ner_models.peft_training.train import trainer_arguments

    recipe, given = read_recipe(path.relative_to(ROOT), [f"output_dir={tmp_path}"])
    assert set(given) - {"use_cpu"} == set(load(path)) - {"use_cpu"}  # which is chosen where there is no GPU
    args = trainer_arguments(recipe, None)
    expected = {"num_train_epochs": 5.0, "lr_scheduler_type": "cosine", "warmup_steps": 0.05}
    expected |= {"eval_steps": 200, "save_steps": 200, "load_best_model_at_end": True, "metric_for_best_model": "loss"}
    if path.parent.name != "nano":  # which says so in its header
        batch = 8 if path.parent.name == "qwen2.5-0.5b" else 32
        expected |= {"learning_rate": 1e-4, "gradient_checkpointing": True, "per_device_train_batch_size": batch}
        assert given["bf16"] is load(path)["bf16"] or recipe.use_cpu
    assert {key: getattr(args, key) for key in expected} == expected
    assert args.eval_strategy == args.save_strategy == "steps" and not args.greater_is_better
    lora = (recipe.lora_rank, recipe.lora_alpha, recipe.lora_dropout, recipe.lora_target)
    assert lora == (16, 32, 0.2, "all") and recipe.early_stopping_steps == 5 and recipe.share_prompt


@pytest.mark.parametrize("path", TRAINING, ids=["/".join(path.parts[-2:]) for path in TRAINING])
def test_every_recipe_shares_the_prompt(path: Path) -> None:
    assert load(path)["share_prompt"] is True


@pytest.mark.parametrize("model", ["qwen3-0.6b", "qwen3-4b", "qwen3-8b", "glm-4-9b"])
def test_what_never_met_the_real_weights_says_so(model: str) -> None:
    for path in (ROOT / "recipes" / model).glob("*.yaml"):
        assert path.name == "model.yaml" or "\n# Untested:  " in path.read_text(encoding="utf-8"), path


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
