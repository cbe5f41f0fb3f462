"""A base model is one folder of recipes/: with a new one make trains, serves and evaluates it, and no code changes."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from make_support import link, link_environments, make
from support import ROOT, free_port

pytestmark = pytest.mark.serve

RECORDS = 20  # of the test split: enough to see that answers are counted


@pytest.fixture
def checkout(chain: Path, tmp_path: Path) -> Path:
    """A copy of the repository with demo's data, everything built, and a base model of its own called `pico`."""
    link(tmp_path, "Makefile", "pyproject.toml", "requirements", "data/corpora")
    link_environments(tmp_path)
    for name in ("data/gold/demo", "data/alpaca"):
        shutil.copytree(chain / name, tmp_path / name)
    gold = tmp_path / "data/gold/demo/test.jsonl"
    gold.write_text("".join(gold.read_text(encoding="utf-8").splitlines(keepends=True)[:RECORDS]), encoding="utf-8")

    shutil.copytree(ROOT / "data/nano", tmp_path / "weights/pico")
    folder = tmp_path / "recipes/pico"
    folder.mkdir(parents=True)
    (folder / "model.yaml").write_text(
        yaml.safe_dump({"weights": "weights/pico", "needs_gpu": False, "template": "qwen"})
    )
    recipe = (ROOT / "recipes/nano/lora.yaml").read_text(encoding="utf-8")
    (folder / "lora.yaml").write_text(recipe.replace("data/nano", "weights/pico").replace("saves/nano", "saves/pico"))
    return tmp_path


def test_a_model_folder_is_all_that_a_new_base_model_needs(checkout: Path) -> None:
    port, options = free_port(), ["MODEL=pico", "CORPUS=demo", "ACCELERATOR=cpu", "PYTHON=false"]
    done = make("train", *options, "ARGS=max_steps=4", folder=checkout, timeout=300)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    adapter = checkout / "saves/pico/lora/demo"
    assert json.loads((adapter / "adapter_config.json").read_text())["base_model_name_or_path"] == "weights/pico"
    assert json.loads((adapter / "ner_training.json").read_text())["recipe"] == "recipes/pico/lora.yaml"
    try:
        done = make("serve", *options, f"PORT={port}", folder=checkout, timeout=300)
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
        assert "pico, pico-lora-demo at http://127.0.0.1" in done.stdout
        (hint,) = [line.removeprefix("try: ") for line in done.stdout.splitlines() if line.startswith("try: ")]
        tried = subprocess.run(["bash", "-c", hint], cwd=checkout, capture_output=True, text=True, timeout=120)
        done = make("eval", *options, f"PORT={port}", folder=checkout, timeout=300)
    finally:
        stopped = make("stop", *options, f"PORT={port}", folder=checkout)
    assert tried.returncode == 0, tried.stderr
    assert "1 texts, " in tried.stderr and "0 without an answer" in tried.stderr
    assert done.returncode == 0, done.stderr[-3000:]
    assert f"answers: {RECORDS};" in done.stdout and "Micro" in done.stdout
    assert stopped.stdout == f"stopped pico, pico-lora-demo on port {port}\n"
    manifest = json.loads((checkout / "runs/pico-lora-demo-test/manifest.json").read_text(encoding="utf-8"))
    assert manifest["model"] == "pico-lora-demo"
