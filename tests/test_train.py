"""Training with the real llamafactory-cli on nano: adapter, evaluation, plot, resuming, merging, preview."""

import json
import os
import subprocess
from pathlib import Path

import pytest

from support import tool, train

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


def test_training_goes_on_from_the_last_checkpoint(chain: Path, tmp_path: Path) -> None:
    train(chain, tmp_path / "a", "max_steps=4", "save_steps=2", "logging_steps=1")
    output = train(chain, tmp_path / "a", "max_steps=6", "save_steps=2", "logging_steps=1")
    assert f"Resuming training from {tmp_path}/a/checkpoint-4" in output
    assert json.loads((tmp_path / "a/trainer_state.json").read_text())["global_step"] == 6


def test_merging_writes_one_plain_checkpoint(chain: Path, adapter: Path, tmp_path: Path) -> None:
    command = [tool(".venv-train", "llamafactory-cli"), "export", "recipes/nano/merge.yaml"]
    overrides = [f"adapter_name_or_path={adapter}", f"export_dir={tmp_path / 'merged'}"]
    environment = {**os.environ, "AUTOWRAPT_BOOTSTRAP": "llamafactory_ner"}
    subprocess.run([*command, *overrides], cwd=chain, env=environment, check=True)
    assert (tmp_path / "merged/model.safetensors").is_file()
    assert not list((tmp_path / "merged").glob("*.bin"))
    assert not (tmp_path / "merged/adapter_config.json").exists()


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


def test_preview_of_an_unregistered_data_set_is_one_line(chain: Path) -> None:
    environment = {**os.environ, "AUTOWRAPT_BOOTSTRAP": "llamafactory_ner"}
    command = [tool(".venv-train", "ner-data"), "preview", "recipes/nano/lora.yaml", "dataset=river_train"]
    done = subprocess.run(command, cwd=chain, env=environment, capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr.strip().splitlines()[-1].endswith("is not registered in dataset_info.json; run `make data`")
    assert "Traceback" not in done.stderr
