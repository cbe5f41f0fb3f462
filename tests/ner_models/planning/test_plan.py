"""`ner-model plan`: what it says before any download, about which models, methods and cards."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ner_models import plan as command
from ner_models.base_models import load_base_model, model_names
from ner_models.planning import cards
from ner_models.planning.batches import batches, lengths
from ner_models.planning.cards import Card, card_here, card_named
from ner_models.planning.estimate import Plan, plan
from ner_models.planning.shapes import shape_of
from support import ROOT, Result, one_line_error

Cli = Callable[..., Result]
TRAINING = [path for path in sorted((ROOT / "recipes").glob("*/*.yaml")) if path.stem not in ("model", "merge")]


@pytest.fixture
def recipes(workplace: Path) -> Path:
    shutil.copytree(ROOT / "recipes", workplace / "recipes")
    (workplace / "data/nano").symlink_to(ROOT / "data/nano")
    return workplace / "recipes"


def planned(recipe: str, *overrides: str, card: str = "RTX 4090", **given: Any) -> Plan:
    return plan(Path(f"recipes/{recipe}.yaml"), overrides, card_named(card), **given)


@pytest.mark.parametrize("path", TRAINING, ids=["/".join(path.parts[-2:]) for path in TRAINING])
def test_every_recipe_has_a_plan_before_its_download(recipes: Path, cli: Cli, path: Path) -> None:
    done = cli("ner-model", "plan", Path("recipes", *path.parts[-2:]), "--card", "A100")
    assert (done.code, done.err) == (0, "")
    last = done.out.splitlines()[-1]
    assert last.startswith(f"plan (estimate): {path.parent.name}/{path.stem} needs ")
    assert "of one A100; " in last and " GB of disk; " in last and " steps, about " in last
    assert not (recipes.parent / "models").exists()


ON_24_GB = [path for path in TRAINING if "# Hardware:  one 24 GB card" in path.read_text(encoding="utf-8")]


@pytest.mark.parametrize("path", ON_24_GB, ids=["/".join(path.parts[-2:]) for path in ON_24_GB])
def test_what_is_said_to_fit_24_gb_is_planned_to(recipes: Path, path: Path) -> None:
    assert planned(f"{path.parent.name}/{path.stem}").needed < 0.95 * 24e9 < 0.95 * card_named("RTX 4090").memory


def test_recipes_for_cards_of_24_gb_are_found() -> None:
    assert len(ON_24_GB) > 10


@pytest.mark.parametrize("name", [name for name in model_names() if load_base_model(name).source] or ["none"])
def test_the_sizes_of_a_model_agree_with_its_download(recipes: Path, name: str) -> None:
    """2 bytes for each parameter; files of tied models may hold the embedding twice."""
    model = load_base_model(name)
    shape = shape_of(Path("absent"), model)
    assert shape is not None
    twice = shape.vocab_size * shape.hidden_size if shape.tie_word_embeddings else 0
    stored = model.gigabytes * 1e9 / 2
    assert shape.parameters == pytest.approx(stored, rel=0.02) or shape.parameters + twice == pytest.approx(
        stored, rel=0.02
    )


def test_the_parameters_of_published_models_are_exact(recipes: Path) -> None:
    """The counts that their model cards and indexes give (total size in bf16, halved)."""
    given = {"qwen2-7b": 7_615_616_512, "qwen2.5-0.5b": 494_032_768, "qwen3-8b": 8_190_735_360}
    given |= {"qwen3-0.6b": 596_049_920, "chatglm3-6b": 6_243_584_000, "glm-4-9b": 9_399_951_360}
    for name, count in given.items():
        shape = shape_of(Path("absent"), load_base_model(name))
        assert shape and shape.parameters == count, name


def test_weights_that_are_there_say_their_own_sizes(recipes: Path) -> None:
    found = planned("nano/lora", "model_name_or_path=data/nano")
    assert (found.shape.num_hidden_layers, found.shape.hidden_size, found.shape.vocab_size) == (5, 192, 4992)


def test_an_unknown_model_is_refused_with_what_to_add(recipes: Path, cli: Cli) -> None:
    message = one_line_error(cli("ner-model", "plan", "recipes/qwen2-7b/lora.yaml", "model_name_or_path=models/qwen9"))
    assert message.startswith("ner-model: models/qwen9: not there, and no model.yaml tells its sizes; add shape to ")
    assert "recipes/qwen9/lora.yaml: no such file" in one_line_error(
        cli("ner-model", "plan", "recipes/qwen9/lora.yaml")
    )


def test_a_recipe_that_merges_has_no_plan(recipes: Path, cli: Cli) -> None:
    message = one_line_error(cli("ner-model", "plan", "recipes/qwen2-7b/merge.yaml"))
    assert message.endswith("merge.yaml: merges, and trains nothing (export_dir); name a recipe that trains")


def test_a_shape_that_lacks_a_size_is_named(recipes: Path, cli: Cli) -> None:
    path = recipes / "qwen2-7b/model.yaml"
    path.write_text(path.read_text().replace("hidden_size: 3584, ", ""))
    message = one_line_error(cli("ner-model", "plan", "recipes/qwen2-7b/lora.yaml"))
    assert "recipes/qwen2-7b/model.yaml: " in message and "hidden_size" in message


def test_an_unknown_card_is_refused_with_those_that_are_known(recipes: Path, cli: Cli) -> None:
    message = one_line_error(cli("ner-model", "plan", "recipes/qwen2-7b/lora.yaml", "--card", "RTX 9999"))
    assert "--card 'RTX 9999': not one of cpu, T4, " in message


@pytest.mark.parametrize(
    ("said", "found"),
    [
        ("NVIDIA A100-SXM4-80GB", "A100"), ("NVIDIA A10", "A10"), ("NVIDIA GeForce RTX 4090", "RTX 4090"),
        ("4090", "RTX 4090"), ("Tesla V100-SXM2-32GB", "V100"), ("NVIDIA L40S", "L40S"), ("nvidia h200", "H200"),
    ],
)  # fmt: skip
def test_a_card_is_known_by_what_the_driver_calls_it(said: str, found: str) -> None:
    assert card_named(said).name == found


def test_the_gpu_of_this_machine_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cards, "output_of", lambda *command: "NVIDIA RTX A4000, 16376")
    found = card_here()
    assert (found.name, found.memory, found.rate) == ("NVIDIA RTX A4000", 16376 << 20, None)
    monkeypatch.setattr(cards, "output_of", lambda *command: "")
    assert card_here().is_cpu


def test_what_does_not_fit_is_a_warning_with_what_to_change(recipes: Path, cli: Cli) -> None:
    done = cli("ner-model", "plan", "recipes/qwen2-7b/full.yaml", "--card", "RTX 4090", "share_prompt=false")
    assert done.code == 0
    last = done.out.splitlines()[-1]
    assert ". WARNING: it does not fit: share_prompt=true; " in last and "METHOD=lora" in last
    assert "WARNING" not in cli("ner-model", "plan", "recipes/qwen3-4b/qlora.yaml", "--card", "A10").out


def test_each_method_takes_what_it_should(recipes: Path) -> None:
    lora, qlora, full = (planned(f"qwen2-7b/{method}") for method in ("lora", "qlora", "full"))
    assert qlora.needed < lora.needed - 8e9 and full.needed > 5 * lora.needed
    dora = planned("qwen2-7b/dora")
    assert 0 < dora.needed - lora.needed < 2e9
    padded = planned("qwen2-7b/lora", "share_prompt=false")
    assert padded.largest.tokens > 2 * lora.largest.tokens and lora.padded == padded.padded == padded.needed
    kept = planned("qwen2-7b/lora", "disable_gradient_checkpointing=true")
    assert kept.needed > lora.needed + 5e9 and kept.operations < lora.operations
    small = planned("qwen2-7b/lora", "per_device_train_batch_size=8", "gradient_accumulation_steps=4")
    assert small.steps == lora.steps and small.needed < lora.needed
    # PEFT's own numbers, as the recipes' headers give them
    assert planned("chatglm3-6b/p_tuning").method.trained == 50_868_224
    assert planned("chatglm3-6b/prefix_tuning").method.trained == 28 * 2 * 2 * 128 * 128
    assert lora.method.trained == 20_185_088


def test_steps_are_those_of_the_trainer(recipes: Path) -> None:
    data = recipes.parent / "data/alpaca"
    data.mkdir()
    records = [{"system": "s", "instruction": "i" * 100, "input": "x" * (i % 50), "output": "y"} for i in range(1000)]
    (data / "cluener_train.json").write_text(json.dumps(records))
    assert planned("qwen2-7b/lora").steps == 3 * 29  # 900 records in batches of 32
    assert planned("qwen2-7b/lora", "max_steps=7").steps == 7
    assert planned("qwen2-7b/lora", "val_size=100", "gradient_accumulation_steps=2").steps == 3 * 15
    assert "estimated from characters" in planned("qwen2-7b/lora").counted


def test_a_shared_prompt_is_counted_once_and_rows_are_padded_without(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text(json.dumps([{"instruction": "i" * 100, "input": "x" * n, "output": "y" * 10} for n in (10, 50)]))
    of = lengths([path], None)
    assert of.prompt == 53 + 8
    assert of.rests == [7 + 4 + 7, 36 + 4 + 7]
    shared, _ = batches(of, 2, 1, True, 1024, 1)
    padded, _ = batches(of, 2, 1, False, 1024, 1)
    assert (shared.tokens, padded.tokens) == (61 + 18 + 47, 2 * (61 + 47))
    assert batches(of, 2, 1, False, 80, 1)[0].tokens == 2 * 80


def test_the_last_line_is_all_that_make_prints_and_never_stops_it(recipes: Path, cli: Cli) -> None:
    done = cli("ner-model", "plan", "--last-line", "recipes/qwen2-7b/lora.yaml", "dataset=x_train", "lora_rank=16")
    assert (done.code, done.err, done.out.count("\n")) == (0, "", 1)
    for bad in ("model_name_or_path=models/none", "lora_rank=many", "per_device_train_batch_size=-1", "nonsense"):
        assert cli("ner-model", "plan", "--last-line", "recipes/qwen2-7b/lora.yaml", bad) == (0, "", "")
    assert cli("ner-model", "plan", "--last-line", "recipes/none.yaml") == (0, "", "")


@pytest.mark.parametrize("bad", ["lora_rank=many", "per_device_train_batch_size=-1", "val_size=[1]", "max_steps={}"])
def test_a_value_that_is_no_number_is_refused_in_one_line(recipes: Path, cli: Cli, bad: str) -> None:
    message = one_line_error(cli("ner-model", "plan", "recipes/qwen2-7b/lora.yaml", bad))
    assert bad.partition("=")[0] in message


def test_a_card_of_unknown_rate_gets_a_plan_without_a_time(recipes: Path) -> None:
    found = plan(Path("recipes/qwen2-7b/lora.yaml"), (), Card("RTX 9999", 32 << 30, None))
    assert found.seconds is None and "about" not in command.last_line(found)
    assert any("unknown rate" in line for line in command.table(found))
