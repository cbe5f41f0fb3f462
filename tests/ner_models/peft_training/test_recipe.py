"""`ner-model train` refuses what it cannot train in one line, before anything heavy is imported or written."""

import json
import random
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from ner_common.errors import UserError, printable
from ner_models.peft_training.recipe import Recipe, checkpoint_to_resume, read_recipe
from support import ROOT, one_line_error

RECIPE = Path("recipes/nano/peft_lora.yaml")


@pytest.fixture(autouse=True)
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The recipes, nano, and a registry with one data set, whose file is missing."""
    shutil.copytree(ROOT / "recipes/nano", tmp_path / "recipes/nano", ignore=shutil.ignore_patterns("results"))
    (tmp_path / "data/alpaca").mkdir(parents=True)
    (tmp_path / "data/nano").symlink_to(ROOT / "data/nano")
    (tmp_path / "data/alpaca/dataset_info.json").write_text('{"demo_train": {"file_name": "demo_train.json"}}')
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("misspelt=1", "has the unknown field misspelt; correct the recipe or the override"),
        ("lora_rank=many", "lora_rank: expected int, got str; correct the recipe or the override"),
        ("bf16=1", "bf16: expected bool, got int; "),
        ("learning_rate=.nan", "learning_rate: expected float > 0"),
        ("lora_dropout=1.0", "lora_dropout: expected float < 1.0; "),
        (
            "eval_strategy=no",
            "early_stopping_steps stops by the evaluations' losses: it needs eval_strategy: steps and ",
        ),
        ("load_best_model_at_end=false", "it needs eval_strategy: steps and load_best_model_at_end: true"),
        ("val_size=0", "evaluation (do_eval, eval_strategy) needs held-out records: set val_size: 0.1"),
        ("dataset=river_train", "the data set 'river_train' is not registered in data/alpaca/dataset_info.json; run "),
        ("dataset=[]", "dataset names no data set"),
        ("model_name_or_path=models/none", "model_name_or_path models/none: no model there (no config.json); run "),
        (
            "template=vicuna",
            "template is 'vicuna', but servers ask 'data/nano' with its own chat template, 'qwen' in ",
        ),
        (
            "finetuning_type=lora",
            "finetuning_type is 'lora', which `llamafactory-cli train` trains; `ner-model train` ",
        ),
        ("max_steps", "'max_steps': not an override; write key=value"),
        ("dataset=[a", "'dataset=[a': not YAML (line 1: "),
    ],
)
def test_an_override_that_cannot_be_trained_is_one_line(cli, checkout: Path, override: str, words: str) -> None:
    message = one_line_error(cli("ner-model", "train", RECIPE, override))
    assert message.startswith("llamafactory_ner: ") and words in message
    assert not (checkout / "saves").exists()


def test_what_does_not_share_a_prompt_is_refused_as_by_the_plugin(cli) -> None:
    words = ("use_cpu=true", "share_prompt_attention=flex_attention")
    assert "flex_attention does not train on a CPU" in one_line_error(cli("ner-model", "train", RECIPE, *words))


@pytest.mark.parametrize(
    ("recipe", "words"),
    [
        (
            "recipes/nano/lora.yaml",
            "recipes/nano/lora.yaml: finetuning_type is 'lora', which `llamafactory-cli train`",
        ),
        ("recipes/nano/none.yaml", "recipes/nano/none.yaml: no such file; name a recipe, such as "),
        ("recipes", "recipes: is a folder, not a file; "),
        ("data/alpaca/dataset_info.json", "finetuning_type is None, which "),
        ("list.yaml", "list.yaml: not a mapping of names to values; copy a recipe that works"),
    ],
)
def test_a_file_that_is_no_recipe_of_this_command_is_one_line(cli, checkout: Path, recipe: str, words: str) -> None:
    (checkout / "list.yaml").write_text("- lora\n")
    assert words in one_line_error(cli("ner-model", "train", recipe))


def test_data_sets_are_looked_for_where_llamafactory_does(checkout: Path) -> None:
    text = RECIPE.read_text(encoding="utf-8").replace("dataset_dir: data/alpaca\n", "")
    (checkout / RECIPE).write_text(text, encoding="utf-8")
    with pytest.raises(UserError, match=r"data/dataset_info\.json: no such file; run `make data`"):
        read_recipe(RECIPE, [])


def test_a_base_model_with_pickled_weights_is_one_line(cli, checkout: Path) -> None:
    base = checkout / "models/pickled"
    base.mkdir(parents=True)
    (base / "config.json").write_text("{}")
    (base / "pytorch_model.bin").touch()
    message = one_line_error(cli("ner-model", "train", RECIPE, "model_name_or_path=models/pickled"))
    assert "models/pickled: no *.safetensors (only *.bin), and only safetensors are loaded; " in message


def test_several_problems_are_named_together(cli) -> None:
    message = one_line_error(cli("ner-model", "train", RECIPE, "val_size=0", "model_name_or_path=models/none"))
    assert "needs held-out records" in message and "no model there" in message


def test_numbers_may_be_written_as_llamafactory_reads_them() -> None:
    recipe, given = read_recipe(RECIPE, ["learning_rate=2e-4", "num_train_epochs=5", "save_strategy=no"])
    assert (recipe.learning_rate, recipe.num_train_epochs, recipe.save_strategy) == (2e-4, 5.0, "no")
    assert given["learning_rate"] == 2e-4 and given["lora_rank"] == 16


# --- the output folder -------------------------------------------------------------------------------------------------


def recipe_into(folder: Path, *more: str) -> Recipe:
    return read_recipe(RECIPE, [f"output_dir={folder}", *more])[0]


def write_checkpoint(folder: Path, rank: int = 16, whole: bool = True) -> None:
    folder.mkdir(parents=True)
    config = {"peft_type": "LORA", "r": rank, "lora_alpha": 32, "target_modules": ["q_proj"]}
    (folder / "adapter_config.json").write_text(json.dumps(config))
    (folder / "adapter_model.safetensors").write_bytes(b"")
    if whole:
        (folder / "trainer_state.json").write_text("{}")


def test_training_goes_on_from_the_last_checkpoint_that_was_saved_whole(tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert checkpoint_to_resume(recipe_into(out)) is None
    for step, whole in ((200, True), (1000, True), (1200, False)):
        write_checkpoint(out / f"checkpoint-{step}", whole=whole)
    (out / "adapter_model.safetensors").touch()
    assert checkpoint_to_resume(recipe_into(out)) == out / "checkpoint-1000"
    assert checkpoint_to_resume(recipe_into(out, "overwrite_output_dir=true")) is None
    problem = "was trained with lora_rank 16 and lora_alpha 32.0; train with that again, set overwrite_output_dir=true"
    with pytest.raises(UserError, match=re.escape(f"out/checkpoint-1000: {problem}")):
        checkpoint_to_resume(recipe_into(out, "lora_rank=8"))


@pytest.mark.parametrize(
    "name", ["adapter_model.safetensors", "model.safetensors", "model-00001-of-00002.safetensors"]
)
def test_a_folder_with_weights_and_no_checkpoint_is_not_written_into(tmp_path: Path, name: str) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "ner_training.json").touch()  # of a training that was interrupted before its first checkpoint
    assert checkpoint_to_resume(recipe_into(out)) is None
    (out / name).touch()
    with pytest.raises(
        UserError, match=re.escape(f"out: holds {name} already, and no checkpoint to go on from; set ")
    ):
        checkpoint_to_resume(recipe_into(out))
    assert checkpoint_to_resume(recipe_into(out, "overwrite_output_dir=true")) is None


# --- anything at all ---------------------------------------------------------------------------------------------------

VALUES = (
    *(
        None,
        True,
        False,
        0,
        -1,
        1,
        2**70,
        1e308,
        float("inf"),
        float("nan"),
        "",
        " ",
        "x",
        "1",
        "true",
        "1e3",
        "9e999",
    ),
    *("\x1b[31m", "a\nb", "a\0b", "../..", "/", "saves/nano/lora/x", "²", "中文", "x" * 5000, "[" * 200, "lora"),
    *([], [None], ["x"], [[]], {}, {"x": 1}, {1: 2}, "demo_train", ["demo_train"], "peft_lora", "no", "steps"),
)


@pytest.fixture(params=[400, pytest.param(8000, marks=pytest.mark.slow)], ids=["short", "long"])
def count(request: pytest.FixtureRequest) -> int:
    return int(request.param)


def test_any_recipe_is_read_or_refused_in_one_line(
    count: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Number formats are tested elsewhere; to choose one, torch is asked for a GPU, and may not be installed here.
    monkeypatch.setattr("ner_models.peft_training.recipe.suited", dict)
    rng = random.Random(14)
    whole: dict[Any, Any] = yaml.safe_load(RECIPE.read_text(encoding="utf-8"))
    path = tmp_path / "recipes/nano/any.yaml"
    read = refused = 0
    for _ in range(count):
        given = dict(whole)
        for _ in range(rng.randint(0, 3)):
            given[rng.choice([*Recipe.__struct_fields__, "x", "\x1b[2J", 7])] = rng.choice(VALUES)
        text = yaml.safe_dump(given, allow_unicode=True)
        if rng.random() < 0.2:
            at = rng.randrange(len(text))
            text = text[:at] + rng.choice((*VALUES[11:15], "{", "*a", "\t", "")) + text[at + rng.randrange(9) :]
        path.write_text(text, encoding="utf-8")
        words = [f"{rng.choice(list(whole))}={rng.choice(VALUES)}" for _ in range(rng.choice([0, 0, 1]))]
        try:
            recipe, _ = read_recipe(path, words)
            assert recipe.finetuning_type == "peft_lora" and recipe.lora_rank > 0 and 0 <= recipe.lora_dropout < 1
            read += 1
        except UserError as error:
            assert "\n" not in printable(str(error)) and len(str(error)) < 12000
            refused += 1
    assert read + refused == count and read > count // 10 and refused > count // 10
