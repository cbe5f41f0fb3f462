"""A training with checkpoints, all of them in one vLLM, and the best in the place of the last: as a user does it."""

import json
import time
from pathlib import Path

import pytest

from make_support import copy_with_demo, make
from support import assert_free, free_port
from trained import contents

pytestmark = pytest.mark.serve

# A real training, but a short one: with shorter ones nano finds nothing at all.
SHORT = (
    "max_steps={0} save_steps={1} save_total_limit=9 per_device_train_batch_size=4 val_size=40 "
    "eval_strategy=steps eval_steps={1}"
)
OPTIONS = ["MODEL=nano", "CORPUS=demo", "ACCELERATOR=cpu", "PYTHON=false"]


@pytest.fixture
def checkout(chain: Path, tmp_path: Path) -> Path:
    return copy_with_demo(chain, tmp_path)


@pytest.mark.parametrize(
    ("method", "each"),
    [
        ("lora", 30),
        pytest.param("peft_lora", 30, marks=pytest.mark.slow),
        pytest.param("prefix_tuning", 300, marks=pytest.mark.slow),
    ],
)
def test_the_best_of_three_checkpoints_is_served_asked_and_published(checkout: Path, method: str, each: int) -> None:
    options = [*OPTIONS, f"METHOD={method}"]
    done = make("train", *options, f"ARGS={SHORT.format(3 * each, each)}", folder=checkout, timeout=500)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    adapter, port = checkout / f"saves/nano/{method}/demo", free_port()
    before = contents(adapter)
    done = make("select", *options, f"PORT={port}", folder=checkout, timeout=500)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert_free(port)
    runs = checkout / f"runs/nano-{method}-demo-select"
    result = json.loads((runs / "select.json").read_text())
    rows = {row["name"]: row for row in result["checkpoints"]}
    assert list(rows) == [f"checkpoint-{n * each}" for n in (1, 2, 3)] and result["records"] == 40
    assert all(row["loss"] > 0 and row["refused"] == 0 for row in rows.values())
    for row in rows.values():
        low, high = row["interval"]
        assert 0 <= low <= row["f1"] <= high <= 1 and f"[{low:.4f}, {high:.4f}]" in done.stdout
    best = max(rows.values(), key=lambda row: row["f1"])
    assert result["best"] == best["name"] and best["f1"] > 0.05
    after = contents(adapter)
    for name in ("adapter_model.safetensors", "adapter_config.json"):
        assert after[name] == before[f"{best['name']}/{name}"]
    record = json.loads(after["ner_training.json"])
    assert record["selected"]["checkpoint"] == best["name"] and record["selected"]["weights"] == best["weights"]
    held_out = set(json.loads(after["ner_held_out.json"])["records"])
    asked = [json.loads(line)["id"] for line in (runs / "held-out.jsonl").open(encoding="utf-8")]
    assert len(asked) == 40 and set(asked) == held_out
    answers = {(runs / row["run"] / "predictions.jsonl").read_text() for row in rows.values()}
    assert len(answers) == 3  # three models answered, not one under three names
    begin = time.monotonic()
    again = make("select", *options, f"PORT={port}", folder=checkout, timeout=60)
    assert again.returncode == 0 and "held it already" in again.stdout, again.stderr
    assert "starting vLLM" not in again.stdout and time.monotonic() - begin < 30
    assert contents(adapter) == after
