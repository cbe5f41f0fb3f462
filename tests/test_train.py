"""Training with the real llamafactory-cli on nano: adapter, evaluation, plot, resuming, merging, preview."""

import json
import os
import re
import shutil
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from support import Result, one_line_error, tool, train

pytestmark = pytest.mark.train


def log(folder: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (folder / "trainer_log.jsonl").read_text().splitlines()]


def test_training_leaves_an_adapter_a_falling_loss_and_a_plot(adapter: Path) -> None:
    losses = [row["loss"] for row in log(adapter) if "loss" in row]
    assert losses[-1] < 0.7 * losses[0]
    assert [row["current_steps"] for row in log(adapter) if "eval_loss" in row] == [20, 40]
    assert (adapter / "adapter_model.safetensors").is_file()
    assert (adapter / "training_loss.png").read_bytes().startswith(b"\x89PNG")
    assert json.loads((adapter / "adapter_config.json").read_text())["r"] <= 16


def test_training_records_what_it_was_told(adapter: Path) -> None:
    record = json.loads((adapter / "ner_training.json").read_text())
    assert record["recipe"] == "recipes/nano/lora.yaml"
    assert record["base_model"] == record["arguments"]["model_name_or_path"] == "data/nano"
    told = record["arguments"]
    assert (told["lora_rank"], told["max_steps"], told["output_dir"]) == (16, 40, str(adapter))  # recipe and overrides
    assert set(record["versions"]) == {"llamafactory", "transformers", "peft", "torch"}
    assert abs(datetime.now(UTC) - datetime.fromisoformat(record["started"])) < timedelta(days=1)


def test_training_goes_on_from_the_last_checkpoint(chain: Path, tmp_path: Path) -> None:
    train(chain, tmp_path / "a", "max_steps=4", "save_steps=2", "logging_steps=1")
    output = train(chain, tmp_path / "a", "max_steps=6", "save_steps=2", "logging_steps=1")
    assert f"Resuming training from {tmp_path}/a/checkpoint-4" in output
    assert json.loads((tmp_path / "a/trainer_state.json").read_text())["global_step"] == 6


@pytest.fixture(scope="module")
def merged(chain: Path, adapter: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("merged") / "nano-lora-demo"
    command = [tool(".venv-train", "llamafactory-cli"), "export", "recipes/nano/merge.yaml"]
    overrides = [f"adapter_name_or_path={adapter}", f"export_dir={folder}"]
    environment = {**os.environ, "AUTOWRAPT_BOOTSTRAP": "llamafactory_ner"}
    subprocess.run([*command, *overrides], cwd=chain, env=environment, check=True)
    return folder


def check_merge(chain: Path, merged: Path, adapter: Path, *more: str) -> Result:
    words = [merged, "--base", "data/nano", "--adapter", adapter, "--corpus", "demo", "--prompts", "5", *more]
    command = [tool(".venv-train", "ner-model"), "check-merge", *map(str, words)]
    done = subprocess.run(command, cwd=chain, capture_output=True, text=True)
    return Result(done.returncode, done.stdout, done.stderr)


def test_merging_writes_one_plain_checkpoint_with_the_adapters_answers(
    chain: Path, adapter: Path, merged: Path
) -> None:
    assert (merged / "model.safetensors").stat().st_mode & 0o444 == merged.stat().st_mode & 0o444
    assert not list(merged.glob("*.bin"))
    assert not (merged / "adapter_config.json").exists()
    # What `make serve eval ADAPTER=…` and `ner-eval calibrate` need of the adapter.
    for name in ("ner_prompt.json", "ner_training.json", "ner_held_out.json", "trainer_state.json"):
        assert (merged / name).read_bytes() == (adapter / name).read_bytes()
    result = check_merge(chain, merged, adapter)
    assert result.code == 0, result
    assert result.out == f"{merged}: 0 of 5 greedy answers differ from those of the adapter (0%; at most 10%)\n"


def test_a_merge_that_changed_the_answers_fails_and_lists_them(chain: Path, adapter: Path, merged: Path) -> None:
    # The base model itself: a merge that lost the adapter.
    result = check_merge(chain, chain / "data/nano", adapter)
    assert result.code == 1, result
    assert result.out.count("\n  adapter: ") == result.out.count("\n  merged:  ") == 5
    assert "5 of 5 greedy answers differ from those of the adapter (100%, more than 10%)" in result.out


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--most-different", "2"], "--most-different 2.0: not a share; give one from 0 to 1"),
        (["--split", "tset"], "data/gold/demo/tset.jsonl: no such file; run `make data CORPUS=demo`"),
        (
            ["--base", "data/corpora"],
            "data/corpora: no *.safetensors (none there), and only safetensors are loaded; run `make download`",
        ),
        (["--adapter", "data/nano"], "data/nano"),
    ],
)
def test_what_cannot_be_compared_is_one_line(
    chain: Path, adapter: Path, merged: Path, more: list[str], message: str
) -> None:
    assert message in one_line_error(check_merge(chain, merged, adapter, *more))


def test_a_folder_without_a_merged_model_is_one_line(chain: Path, adapter: Path, tmp_path: Path) -> None:
    message = one_line_error(check_merge(chain, tmp_path, adapter))
    assert f"/{tmp_path.name}: no *.safetensors" in message and message.endswith("; run `make merge`")


def test_preview_shows_the_loss_on_the_answer_and_its_end_only(chain: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from ner_data.preview import IGNORED, encode

    monkeypatch.chdir(chain)
    tokenizer, records = encode(Path("recipes/nano/lora.yaml"), [], 20)
    items = json.loads(Path("data/alpaca/demo_train.json").read_text(encoding="utf-8"))
    assert len(records) == 20
    for (inputs, labels), item in zip(records, items, strict=False):
        trained = [token for token, label in zip(inputs, labels, strict=True) if label != IGNORED]
        assert tokenizer.decode(trained).strip() == item["output"] + "<|im_end|>"
        asked = tokenizer.decode(inputs[: labels.index(trained[0])])
        assert asked.endswith(f"{item['input']}<|im_end|>\n<|im_start|>assistant\n")


def test_preview_prints_the_text_with_the_answer_between_its_marks(chain: Path, cli, monkeypatch) -> None:
    monkeypatch.chdir(chain)
    done = cli("ner-data", "preview", "recipes/nano/lora.yaml", "--count", 2)
    assert done.code == 0, done.err
    items = json.loads(Path("data/alpaca/demo_train.json").read_text(encoding="utf-8"))
    head = r"--- record {}: (\d+) tokens, (\d+) of them carry the loss \(between ⟦ and ⟧\)\n"
    records = "".join(
        head.format(number)
        + re.escape(
            f"<|im_start|>system\n{item['system']}<|im_end|>\n"
            f"<|im_start|>user\n{item['instruction']}\n{item['input']}<|im_end|>\n"
            f"<|im_start|>assistant\n⟦{item['output']}<|im_end|>\n⟧\n"
        )
        for number, item in enumerate(items[:2], start=1)
    )
    found = re.fullmatch(records, done.out)
    assert found, done.out
    assert not (chain / "saves").exists()
    tokens, trained, *_ = map(int, found.groups())
    assert 0 < trained < tokens


def test_preview_of_an_unregistered_data_set_is_one_line(chain: Path) -> None:
    environment = {**os.environ, "AUTOWRAPT_BOOTSTRAP": "llamafactory_ner"}
    command = [tool(".venv-train", "ner-data"), "preview", "recipes/nano/lora.yaml", "dataset=river_train"]
    done = subprocess.run(command, cwd=chain, env=environment, capture_output=True, text=True)
    message = one_line_error(Result(done.returncode, done.stdout, done.stderr))
    assert message.endswith("is not registered in data/alpaca/dataset_info.json; run `make data`")


@pytest.mark.parametrize(
    ("argument", "words"),
    [
        (
            "misspelt=1",
            "Some keys are not used by the HfArgumentParser: ['misspelt']; correct the recipe or the override",
        ),
        ("template=nope", "and describe that model in recipes/MODEL/model.yaml"),
        ("cutoff_len=abc", "correct the recipe or the override"),
        ("cutoff_len", "correct the recipe or the override"),
        ("a=[", "correct the recipe or the override"),
        ("--count=0", "argument --count: invalid positive int value: '0'"),
    ],
)
def test_preview_names_a_wrong_argument(chain: Path, cli, monkeypatch, argument: str, words: str) -> None:
    monkeypatch.chdir(chain)
    done = cli("ner-data", "preview", "recipes/nano/lora.yaml", argument)
    assert done.code == 2 and "Traceback" not in done.err
    assert done.err.strip().splitlines()[-1].endswith(words)


def test_preview_without_the_plugin_says_how_to_load_it(chain: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if name != "AUTOWRAPT_BOOTSTRAP"}
    command = [tool(".venv-train", "ner-data"), "preview", "recipes/nano/lora.yaml"]
    done = subprocess.run(command, cwd=chain, env=environment, capture_output=True, text=True)
    message = one_line_error(Result(done.returncode, done.stdout, done.stderr))
    assert "needs the train environment, with AUTOWRAPT_BOOTSTRAP=llamafactory_ner set (" in message


@pytest.mark.parametrize(
    ("override", "words"),
    [
        (
            "template=vicuna",
            "template is 'vicuna', but servers ask 'data/nano' with its own chat template, 'qwen' in ",
        ),
        ("model_name_or_path=nowhere", "model_name_or_path nowhere: no model there (no config.json); "),
    ],
)
def test_an_override_that_trains_for_no_server_is_one_line(
    chain: Path, tmp_path: Path, override: str, words: str
) -> None:
    environment = {**os.environ, "AUTOWRAPT_BOOTSTRAP": "llamafactory_ner"}
    overrides = [override, "max_steps=1", f"output_dir={tmp_path / 'out'}"]
    command = [tool(".venv-train", "llamafactory-cli"), "train", "recipes/nano/lora.yaml", *overrides]
    done = subprocess.run(command, cwd=chain, env=environment, capture_output=True, text=True)
    assert one_line_error(Result(done.returncode, done.stdout, done.stderr)).startswith(f"llamafactory_ner: {words}")
    assert not (tmp_path / "out").exists()


def test_training_on_an_unregistered_data_set_is_one_line(chain: Path, tmp_path: Path) -> None:
    overrides = ["dataset=river_train", f"output_dir={tmp_path / 'out'}"]
    environment = {**os.environ, "AUTOWRAPT_BOOTSTRAP": "llamafactory_ner"}
    command = [tool(".venv-train", "llamafactory-cli"), "train", "recipes/nano/lora.yaml", *overrides]
    done = subprocess.run(command, cwd=chain, env=environment, capture_output=True, text=True)
    message = one_line_error(Result(done.returncode, done.stdout, done.stderr))
    assert (
        "the data set 'river_train' is not registered in data/alpaca/dataset_info.json; run `make data CORPUS="
        in message
    )
    assert not (tmp_path / "out").exists()


def test_with_make_a_training_prints_its_losses_and_the_log_is_in_a_file(chain: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    words = [
        "-m",
        "llamafactory_ner.quiet",
        tool(".venv-train", "llamafactory-cli"),
        "train",
        "recipes/nano/lora.yaml",
    ]
    overrides = [f"output_dir={output}", "max_steps=2", "logging_steps=1", "do_eval=false", "val_size=0"]
    environment = {**os.environ, "AUTOWRAPT_BOOTSTRAP": "llamafactory_ner"}
    command = [tool(".venv-train", "python"), *words, *overrides]
    done = subprocess.run(command, cwd=chain, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    result, last = done.stdout.splitlines()
    assert re.fullmatch(rf"training loss \d\.\d{{4}} \(plot: {output}/training_loss\.png\)", result)
    assert last == f"adapter: {output}"
    log_line, *steps = done.stderr.splitlines()
    assert log_line.endswith("/out.log") and len(steps) == 2
    assert all(re.fullmatch(r"step \d/2: loss \d\.\d{4}", step) for step in steps)
    assert "training example:" in (tmp_path / "out.log").read_text(encoding="utf-8")
    spec = (chain / "data/alpaca/demo.prompt.json").read_bytes()
    assert (output / "ner_prompt.json").read_bytes() == spec


def test_a_copied_recipe_does_not_train_the_model_it_was_copied_from(chain: Path, tmp_path: Path) -> None:
    for name in ("nano", "my-model"):
        shutil.copytree(chain / "recipes/nano", tmp_path / "recipes" / name)
    shutil.copytree(chain / "data/nano", tmp_path / "models/my-model")
    environment = {**os.environ, "AUTOWRAPT_BOOTSTRAP": "llamafactory_ner"}
    program = tool(".venv-train", "llamafactory-cli")
    for command in (["train", "recipes/my-model/lora.yaml"], ["export", "recipes/my-model/merge.yaml"]):
        done = subprocess.run([program, *command], cwd=tmp_path, env=environment, capture_output=True, text=True)
        message = one_line_error(Result(done.returncode, done.stdout, done.stderr))
        assert message.startswith(f"llamafactory_ner: {command[1]}: ") and "saves/my-model/lora/demo" in message
        assert (
            "recipes/my-model/model.yaml says weights: 'data/nano', but there is a model in models/my-model" in message
        )


def test_a_recipe_that_does_not_exist_is_one_line(chain: Path) -> None:
    environment = {**os.environ, "AUTOWRAPT_BOOTSTRAP": "llamafactory_ner"}
    command = [tool(".venv-train", "llamafactory-cli"), "train", "recipes/nano/lorra.yaml"]
    done = subprocess.run(command, cwd=chain, env=environment, capture_output=True, text=True)
    message = one_line_error(Result(done.returncode, done.stdout, done.stderr))
    assert message.startswith("llamafactory_ner: recipes/nano/lorra.yaml: no such recipe; ")
