"""The stock command in fresh processes: LoRA unchanged, and two processes under torchrun on this CPU."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

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


@pytest.mark.parametrize("method", ["p_tuning", "prefix_tuning"])
def test_two_processes_train_what_one_process_trains_with_twice_the_batch(method, recipe, tmp_path: Path) -> None:
    import torch
    from safetensors.torch import load_file

    prompts = []
    for processes, batch in ((1, 4), (2, 2)):
        out = tmp_path / str(processes)
        args = recipe(finetuning_type=method, output_dir=str(out), per_device_train_batch_size=batch)
        done = launch(args, tmp_path, processes)
        assert done.returncode == 0, done.stderr[-3000:]
        assert json.loads((out / "ner_training.json").read_text())["recipe"] == str(
            tmp_path / f"recipe{processes}.yaml"
        )
        prompts.append(load_file(out / "adapter_model.safetensors")["prompt_embeddings"])
    assert torch.allclose(prompts[0], prompts[1], atol=1e-3)


def test_two_processes_that_share_prompts_train_what_one_process_trains_with_padded_batches(
    recipe, tmp_path: Path
) -> None:
    import torch
    from safetensors.torch import load_file

    adapters = []
    for processes, batch in ((1, 4), (2, 2)):
        out = tmp_path / str(processes)
        lora = {"finetuning_type": "lora", "num_virtual_tokens": None, "optim": "sgd", "learning_rate": 0.05}
        args = recipe(**lora, output_dir=str(out), per_device_train_batch_size=batch, share_prompt=processes > 1)
        done = launch(args, tmp_path, processes)
        assert done.returncode == 0, done.stderr[-3000:]
        adapters.append(load_file(out / "adapter_model.safetensors"))
    trained = [name for name in adapters[0] if "lora_B" in name]  # zero before training
    one, two = (torch.cat([adapter[name].flatten() for name in trained]) for adapter in adapters)
    assert (one - two).norm() / one.norm() < 1e-4


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
