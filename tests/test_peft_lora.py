"""LoRA without llamafactory, from make to the label table: trained, merged, served by vLLM, asked, scored."""

import re
from pathlib import Path

import pytest

from make_support import copy_with_demo, make
from support import assert_free, free_port

pytestmark = pytest.mark.serve

# A real training, but a short one.
SHORT = "max_steps=120 eval_steps=60 save_steps=60 val_size=32"


@pytest.fixture
def checkout(chain: Path, tmp_path: Path) -> Path:
    return copy_with_demo(chain, tmp_path)


def test_an_adapter_trained_without_llamafactory_is_merged_served_and_scored(checkout: Path) -> None:
    port = free_port()
    options = ["MODEL=nano", "METHOD=peft_lora", "CORPUS=demo", "ACCELERATOR=cpu", "PYTHON=false", f"PORT={port}"]

    def run(*targets: str) -> tuple[str, str]:
        done = make(*targets, *options, folder=checkout, timeout=500)
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
        return done.stdout, done.stderr

    result, shown = run("train", f"ARGS={SHORT}")
    lines = result.splitlines()
    assert "adapter: saves/nano/peft_lora/demo" in lines
    assert any(line.startswith("plan (estimate): nano/peft_lora needs ") and "; 120 steps" in line for line in lines)
    assert re.search(
        r"^training loss \d\.\d{4}, evaluation loss \d\.\d{4} \(plot: saves/\S+\.png\)$", result, re.MULTILINE
    )
    assert shown.startswith("log of ner-model: saves/nano/peft_lora/demo.log\n")
    assert re.search(r"^step 20/120: loss \d\.\d{4}$", shown, re.MULTILINE)
    assert re.search(r"^step 120/120: eval_loss \d\.\d{4}$", shown, re.MULTILINE)
    run("merge")
    assert (checkout / "models/nano-peft_lora-demo/model.safetensors").is_file()
    try:
        started, _ = run("serve")
        assert re.search(r"^number format: float32 \(.+\); override with --dtype", started, re.MULTILINE)
        table, _ = run("eval")
    finally:
        run("stop")
    assert_free(port)
    f1 = re.search(r"^ *Micro Avg\.(?: +\d\.\d{4}){2} (\d\.\d{4})$", table, re.MULTILINE)
    assert f1 and float(f1[1]) > 0.1, table  # untuned: 0.006
