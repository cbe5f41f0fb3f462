"""The stock command in fresh processes: LoRA unchanged, and two processes under torchrun on this CPU."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from shared_prompt_support import DESCENT, difference, weights_of

pytestmark = [pytest.mark.train, pytest.mark.slow]


def launch(args: dict[str, object], folder: Path, processes: int, **extra: str) -> subprocess.CompletedProcess[str]:
    path = folder / f"recipe{processes}.yaml"
    path.write_text(yaml.safe_dump(args), encoding="utf-8")
    env = os.environ | {
        "AUTOWRAPT_BOOTSTRAP": "llamafactory_ner",
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "OMP_NUM_THREADS": "1",
    }
    if processes > 1:
        env |= {"FORCE_TORCHRUN": "1", "NPROC_PER_NODE": str(processes)}
    env |= extra
    command = ["llamafactory-cli", "train", str(path)]
    return subprocess.run(command, env=env, capture_output=True, text=True, check=False, timeout=300)


@pytest.mark.parametrize("method", ["lora", "p_tuning", "prefix_tuning"])
def test_two_processes_train_what_one_process_trains_with_twice_the_batch(method, recipe, tmp_path: Path) -> None:
    def trained(name: str, processes: int, **changes: object) -> Path:
        args = recipe(**({"finetuning_type": method} | DESCENT | changes), output_dir=str(tmp_path / name))
        done = launch(args, tmp_path, processes)
        assert done.returncode == 0, done.stderr[-3000:]
        record = json.loads((tmp_path / name / "ner_training.json").read_text())
        assert record["recipe"] == str(tmp_path / f"recipe{processes}.yaml")
        return tmp_path / name

    virtual = {"num_virtual_tokens": None} if method == "lora" else {}
    start = trained("start", 1, **virtual, learning_rate=1e-30, max_steps=1)
    one = trained("one", 1, **virtual)
    for name, shares in (("two", False), ("two that share", True)):
        two = trained(name, 2, **virtual, per_device_train_batch_size=2, share_prompt=shares)
        assert difference(*map(weights_of, (two, one, start))) < 1e-4


def test_a_refusal_is_printed_once_by_two_processes(recipe, tmp_path: Path) -> None:
    done = launch(recipe(finetuning_type="p_tuning", lora_rank=8), tmp_path, 2)
    assert done.returncode != 0
    assert sum(line.startswith("llamafactory_ner: ") for line in done.stderr.splitlines()) == 1


def test_lora_is_trained_the_same_with_and_without_the_plugin(recipe, tmp_path: Path) -> None:
    import torch
    from safetensors.torch import load_file

    stand_in = tmp_path / "stand_in"  # without the plugin nothing replaces torchaudio
    stand_in.mkdir()
    (stand_in / "torchaudio.py").write_text("")
    adapters = []
    for name, extra in (("with", {}), ("without", {"AUTOWRAPT_BOOTSTRAP": "", "PYTHONPATH": str(stand_in)})):
        out = tmp_path / name
        args = recipe(finetuning_type="lora", num_virtual_tokens=None, output_dir=str(out), max_steps=2)
        done = launch(args, tmp_path, 1, **extra)
        assert done.returncode == 0, done.stderr[-3000:]
        assert (out / "ner_training.json").exists() == (name == "with")
        adapters.append(load_file(out / "adapter_model.safetensors"))
    assert adapters[0].keys() == adapters[1].keys()
    assert all(torch.equal(adapters[0][key], adapters[1][key]) for key in adapters[0])
