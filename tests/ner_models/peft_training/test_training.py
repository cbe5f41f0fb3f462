"""`ner-model train` on nano without llamafactory: the same token ids, losses, weights and folder as with it."""

import json
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ner_common.fingerprints import prompt_fingerprint
from support import Result, one_line_error, tool

pytestmark = pytest.mark.train

RECIPE = Path("recipes/nano/peft_lora.yaml")
# Any import of llamafactory in the process fails.
WITHOUT = "import sys; sys.modules['llamafactory'] = None; from ner_models.cli import entry_point; entry_point()"
FEW = (
    "max_steps=4",
    "logging_steps=1",
    "eval_steps=2",
    "save_steps=2",
    "val_size=32",
    "per_device_eval_batch_size=32",
)


def run(folder: Path, *command: str) -> Result:
    environment = {**os.environ, "AUTOWRAPT_BOOTSTRAP": "llamafactory_ner"}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    return Result(done.returncode, done.stdout, done.stderr)


def history(folder: Path, key: str = "loss") -> list[float]:
    state = json.loads((folder / "trainer_state.json").read_text())
    return [entry[key] for entry in state["log_history"] if key in entry]


def weights(folder: Path) -> dict[str, Any]:
    from safetensors.torch import load_file

    tensors: dict[str, Any] = load_file(folder / "adapter_model.safetensors")
    return tensors


def differ(one: Path, other: Path) -> float:
    """The largest difference between the weights in two folders."""
    ours, theirs = weights(one), weights(other)
    assert ours.keys() == theirs.keys()
    return max(float((ours[name] - theirs[name]).abs().max()) for name in ours)


@pytest.fixture
def trained(chain: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """Train in this process into a folder of its own; returns the folder."""
    monkeypatch.chdir(chain)

    def call(name: str, *overrides: str) -> Path:
        from ner_models.peft_training.train import train

        train(RECIPE, [*FEW, f"output_dir={tmp_path / name}", *overrides])
        return tmp_path / name

    return call


def test_token_ids_and_labels_are_those_of_llamafactory(chain: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from transformers import AutoTokenizer

    from llamafactory_ner.training_data import TrainingData
    from ner_data.preview import encode
    from ner_models.peft_training.recipe import read_recipe
    from ner_models.peft_training.records import encoded, load_chats

    monkeypatch.chdir(chain)
    recipe, _ = read_recipe(RECIPE, [])
    ours = encoded(load_chats(recipe, TrainingData()), AutoTokenizer.from_pretrained("data/nano"), recipe)
    _, theirs = encode(RECIPE, [], 10_000)
    assert len(theirs) == len(ours) == 2000
    assert [(list(row["input_ids"]), list(row["labels"])) for row in ours] == theirs


def test_a_recipe_trains_to_the_same_weights_with_and_without_llamafactory(chain: Path, tmp_path: Path) -> None:
    """Dropout, order of records, schedule and held-out records included; the recipe's other keys mean the same."""
    ours, theirs = tmp_path / "ours", tmp_path / "theirs"
    done = run(chain, tool(".venv-train", "python"), "-c", WITHOUT, "train", str(RECIPE), *FEW, f"output_dir={ours}")
    assert done.code == 0, done.err[-3000:]
    (warning,) = [line for line in done.err.splitlines() if line.startswith("llamafactory_ner: ")]
    assert "share_prompt with lora_dropout: 0.2 is correct, but not identical" in warning
    as_lora = ("finetuning_type=lora", "stage=sft", "do_train=true", f"output_dir={theirs}")
    done = run(chain, tool(".venv-train", "llamafactory-cli"), "train", str(RECIPE), *FEW, *as_lora)
    assert done.code == 0, done.err[-3000:]
    for key in ("loss", "eval_loss", "learning_rate", "grad_norm"):
        assert history(ours, key) == pytest.approx(history(theirs, key), rel=1e-5) and history(ours, key)
    assert differ(ours, theirs) < 1e-6
    for name in ("ner_prompt.json", "ner_held_out.json", "checkpoint-2/ner_prompt.json"):
        assert (ours / name).read_bytes() == (theirs / name).read_bytes()
    left = {"trainer_log.jsonl", "training_eval_loss.png"}  # what llamafactory writes for itself
    assert {path.name for path in theirs.iterdir()} - left == {path.name for path in ours.iterdir()}
    for folder in (ours, theirs):
        assert (folder / "adapter_model.safetensors").stat().st_mode & 0o444 == folder.stat().st_mode & 0o444
    record = json.loads((ours / "ner_training.json").read_text())
    assert (record["recipe"], record["base_model"]) == (str(RECIPE), "data/nano")
    assert (record["arguments"]["finetuning_type"], record["arguments"]["max_steps"]) == ("peft_lora", 4)
    assert set(record["versions"]) == {"transformers", "peft", "torch"}
    assert json.loads((ours / "all_results.json").read_text())["eval_loss"] == pytest.approx(
        history(ours, "eval_loss")[-1]
    )
    assert (ours / "training_loss.png").read_bytes().startswith(b"\x89PNG")


def test_padded_batches_train_to_the_same_weights_as_shared_rows(trained: Callable[..., Path]) -> None:
    plain = ("lora_dropout=0", "early_stopping_steps=null")
    shared = trained("shared", *plain)
    padded = trained("padded", *plain, "share_prompt=false", "disable_gradient_checkpointing=false")
    assert history(padded) == pytest.approx(history(shared), rel=1e-4)
    assert differ(padded, shared) < 1e-3


def test_an_interrupted_training_goes_on_to_the_weights_of_a_whole_one(trained: Callable[..., Path]) -> None:
    whole = trained("whole")
    shutil.copytree(whole / "checkpoint-2", whole.with_name("cut") / "checkpoint-2")
    resumed = trained("cut")
    assert history(resumed) == pytest.approx(history(whole), rel=1e-5)
    assert differ(resumed, whole) < 1e-6


def test_training_stops_early_and_the_best_model_is_published(trained: Callable[..., Path]) -> None:
    bad = ("learning_rate=1.0", "lr_scheduler_type=constant", "max_grad_norm=0", "warmup_steps=0")
    folder = trained("out", *bad, "max_steps=20", "eval_steps=1", "save_steps=1", "early_stopping_steps=2")
    losses = history(folder, "eval_loss")
    best = losses.index(min(losses)) + 1
    assert len(losses) == best + 2 < 20
    assert differ(folder, folder / f"checkpoint-{best}") == 0
    assert differ(folder, folder / f"checkpoint-{best + 2}") > 0


@pytest.mark.slow
def test_two_processes_train_as_one_that_accumulates(chain: Path, trained: Callable[..., Path]) -> None:
    small = ("lora_dropout=0", "per_device_train_batch_size=2", "max_steps=2")
    one = trained("one", *small, "gradient_accumulation_steps=2")
    two = one.with_name("two")
    torchrun = [tool(".venv-train", "torchrun"), "--standalone", "--nproc-per-node", "2"]
    command = [*torchrun, tool(".venv-train", "ner-model"), "train", str(RECIPE), *FEW, *small, f"output_dir={two}"]
    done = run(chain, *command)
    assert done.code == 0, done.err[-3000:]
    assert history(two) == pytest.approx(history(one), rel=1e-3)
    assert differ(two, one) < 1e-3
    assert (two / "ner_held_out.json").read_bytes() == (one / "ner_held_out.json").read_bytes()


def test_only_the_layers_that_are_named_are_trained(chain: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from ner_models.peft_training.recipe import read_recipe
    from ner_models.peft_training.train import lora_model

    monkeypatch.chdir(chain)
    model = lora_model(read_recipe(RECIPE, ["lora_target=q_proj,v_proj"])[0])
    trained = {name.split(".lora_")[0].split(".")[-1] for name, part in model.named_parameters() if part.requires_grad}
    assert trained == {"q_proj", "v_proj"}
    with pytest.raises(SystemExit):
        lora_model(read_recipe(RECIPE, ["lora_target=[p_proj]"])[0])


def test_several_gpus_are_used_by_torchrun(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    from ner_models.peft_training import train

    started: list[list[str]] = []
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)  # no machine of the tests has several
    monkeypatch.setattr(train.os, "execv", lambda program, words: started.append(words[1:]))
    monkeypatch.setattr("sys.argv", ["ner-model", "train", "recipe.yaml"])
    recipe = train.Recipe(
        finetuning_type="peft_lora", model_name_or_path="x", dataset="x", template="x", output_dir="x"
    )
    train.start_processes(recipe)
    monkeypatch.setenv("LOCAL_RANK", "0")
    train.start_processes(recipe)
    monkeypatch.delenv("LOCAL_RANK")
    for name, value in (("NNODES", "2"), ("NODE_RANK", "1"), ("MASTER_ADDR", "10.0.0.1"), ("MASTER_PORT", "8600")):
        monkeypatch.setenv(name, value)
    train.start_processes(recipe)
    torchrun, program = "-m torch.distributed.run --nproc-per-node 4", "ner-model train recipe.yaml"
    assert [" ".join(words) for words in started] == [
        f"{torchrun} --standalone {program}",
        f"{torchrun} --nnodes 2 --node-rank 1 --master-addr 10.0.0.1 --master-port 8600 {program}",
    ]


# --- refused before the model is loaded ---------------------------------------------------------------------------------


@pytest.fixture
def refused(chain: Path, tmp_path: Path, cli, monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """The line with which a training on changed copies of the data is refused."""
    shutil.copytree(chain / "data/alpaca", tmp_path / "alpaca")
    monkeypatch.chdir(chain)

    def call(*overrides: str) -> str:
        words = [f"dataset_dir={tmp_path / 'alpaca'}", f"output_dir={tmp_path / 'out'}", *overrides]
        done = cli("ner-model", "train", RECIPE, *words)
        assert done.code == 2 and "Traceback" not in done.err and not (tmp_path / "out").exists()
        *warnings, line = [line for line in done.err.splitlines() if line.startswith("llamafactory_ner: ")]
        assert all("share_prompt with lora_dropout" in warning for warning in warnings)
        return line

    return call


def write(folder: Path, change: Callable[[list[dict[str, Any]]], Any]) -> None:
    path = folder / "alpaca/demo_train.json"
    items = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps(change(items) or items, ensure_ascii=False), encoding="utf-8")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda items: items[4].update(instruction="找"), "the system text or instruction of 1 of 2,000 records ("),
        (lambda items: items[4].update(output=None), "demo_train.json: record 5: output: not there, or no text; "),
        (
            lambda _: [{"instruction": "x"}],
            "demo_train.json: record 1: input, output, system: not there, or no text; ",
        ),
        (lambda items: [*items, "x"], "alpaca/demo_train.json: [2000]: expected object, got str; run `make data`"),
        (lambda _: {"x": 1}, "alpaca/demo_train.json: expected array, got object; run `make data`"),
    ],
)
def test_data_that_cannot_be_trained_on_are_one_line(refused, tmp_path: Path, change, words: str) -> None:
    write(tmp_path, change)
    assert words in refused()


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("cutoff_len=200", "records have more tokens than cutoff_len allows (200); set cutoff_len="),
        ("val_size=5000", "val_size 5000 leaves nothing to train on or to hold out of 2,000 records; change it"),
        ("max_samples=1", "of 1 records; change it"),
        ("lr_scheduler_type=steep", "steep is not a valid SchedulerType, "),
        (
            "save_steps=300",
            "load_best_model_at_end requires the saving steps to be a round multiple of the evaluation",
        ),
    ],
)
def test_a_value_that_does_not_fit_the_data_or_the_trainer_is_one_line(refused, override: str, words: str) -> None:
    assert words in refused(override)


def test_a_missing_or_broken_file_and_a_registry_of_another_kind_are_one_line(refused, tmp_path: Path) -> None:
    registry = tmp_path / "alpaca/dataset_info.json"
    entry = json.loads(registry.read_text())["demo_train"]
    registry.write_text(json.dumps({"demo_train": entry | {"formatting": "sharegpt"}}))
    assert "dataset_info.json: the entry 'demo_train': formatting: invalid enum value 'sharegpt'" in refused()
    registry.write_text(json.dumps({"demo_train": entry}))
    (tmp_path / "alpaca/demo_train.json").write_text("[{")
    assert "alpaca/demo_train.json:1: not JSON (" in refused()
    (tmp_path / "alpaca/demo_train.json").unlink()
    assert "alpaca/demo_train.json: no such file; run `make data`" in refused()
    assert "the entry 'demo_train': expected object, got null; " in refused("dataset_dir=ONLINE")


def test_a_checkpoint_of_another_prompt_is_not_continued(refused, tmp_path: Path) -> None:
    spec = json.loads((tmp_path / "alpaca/demo.prompt.json").read_text(encoding="utf-8"))
    other = {
        **spec,
        "instruction": "找",
        "fingerprint": prompt_fingerprint(spec["system"], "找", spec["labels"], spec["answer_form"]),
    }
    checkpoint = tmp_path / "before/checkpoint-200"
    checkpoint.mkdir(parents=True)
    (checkpoint / "trainer_state.json").write_text("{}")
    (checkpoint / "adapter_config.json").write_text(json.dumps({"peft_type": "LORA", "r": 16, "lora_alpha": 32}))
    (checkpoint / "ner_prompt.json").write_text(json.dumps(other))
    message = refused(f"output_dir={tmp_path / 'before'}")
    assert f"before/checkpoint-200 was trained with another prompt ({other['fingerprint']}; " in message
    assert [path.name for path in tmp_path.joinpath("before").iterdir()] == ["checkpoint-200"]


def test_llamafactory_refuses_the_recipe_in_one_line(chain: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    message = one_line_error(
        run(chain, tool(".venv-train", "llamafactory-cli"), "train", str(RECIPE), f"output_dir={out}")
    )
    assert message == (
        "llamafactory_ner: finetuning_type peft_lora is trained without llamafactory: run `make train` or `ner-model train`"
    )
    assert not out.exists()
