"""Weights and gradients spread over two processes (gloo, CPU): the losses and weights of one process, saved whole."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from support import ROOT, free_port, with_extras

pytestmark = [pytest.mark.train, pytest.mark.slow]
FSDP = {"fsdp": ["full_shard", "auto_wrap"], "fsdp_config": str(ROOT / "recipes/fsdp.json")}
ZERO = [
    pytest.param("lora", {"deepspeed": str(ROOT / f"recipes/deepspeed/{name}.json")}, id=f"lora-{name}")
    for name in ("z2", "z3")
]
WORKER = Path(__file__).with_name("fsdp_on_cpu.py")


def train(args: dict[str, Any], folder: Path, processes: int, nodes: int = 1) -> None:
    """Train in one process, or in several under torchrun; ``nodes`` are torchruns of this machine that meet."""
    path = folder / f"recipe{processes}.yaml"
    path.write_text(yaml.safe_dump(args))
    variables = with_extras() if "deepspeed" in args else dict(os.environ)
    variables |= {"AUTOWRAPT_BOOTSTRAP": "llamafactory_ner", "OMP_NUM_THREADS": "1"}
    variables |= {"DS_ACCELERATOR": "cpu", "PATH": f"{Path(sys.executable).parent}:{variables['PATH']}"}
    torchrun = ["-m", "torch.distributed.run", "--nproc-per-node", str(processes // nodes), "--nnodes", str(nodes)]
    torchrun += ["--master-addr", "127.0.0.1", "--master-port", str(free_port())]
    started = [
        subprocess.Popen(
            [sys.executable, *torchrun, "--node-rank", str(rank), str(WORKER), str(path)],
            env=variables,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for rank in range(nodes)
    ]
    for process in started:
        said, _ = process.communicate(timeout=900)
        assert process.returncode == 0, said[-3000:]


def told(folder: Path) -> list[tuple[float, float]]:
    """The loss and the norm of the gradients at every step."""
    history = json.loads((folder / "trainer_state.json").read_text())["log_history"]
    return [(entry["loss"], entry["grad_norm"]) for entry in history if "loss" in entry]


@pytest.mark.parametrize(
    ("kind", "spread"), [pytest.param("lora", FSDP, id="lora-fsdp"), pytest.param("full", FSDP, id="full-fsdp"), *ZERO]
)
def test_two_nodes_train_what_one_process_trains(kind: str, spread: dict[str, Any], recipe, tmp_path: Path) -> None:
    import torch
    from safetensors.torch import load_file

    weights = []
    for processes, batch, extra in ((1, 4, {}), (2, 2, spread)):
        out = tmp_path / str(processes)
        sgd = {"finetuning_type": kind, "num_virtual_tokens": None, "optim": "sgd", "learning_rate": 0.05}
        saving = {"save_strategy": "steps", "save_steps": 3, "max_steps": 4, "share_prompt": processes > 1}
        args = recipe(**sgd, **saving, output_dir=str(out), per_device_train_batch_size=batch, **extra)
        train(args, tmp_path, processes, nodes=processes)
        name = "model.safetensors" if kind == "full" else "adapter_model.safetensors"
        weights.append(load_file(out / name))
        assert (out / "ner_training.json").is_file()
        assert (out / "checkpoint-3" / name).is_file()
    one, two = (told(tmp_path / str(processes)) for processes in (1, 2))
    assert len(one) == 4 and two == [pytest.approx(step, rel=1e-4) for step in one]
    # FSDP saves tied embeddings under both of their names.
    assert weights[0].keys() == weights[1].keys() - ({"lm_head.weight"} if kind == "full" else set())
    trained = [name for name in weights[0] if kind == "full" or "lora_B" in name]  # zero before training
    first, second = (torch.cat([of[name].flatten() for name in trained]) for of in weights)
    assert (first - second).norm() / first.norm() < 1e-4
