"""The plan against what real processes used: the resident memory of trainings, and of vLLM, within 15 %.

glibc keeps freed memory for later, and with make's settings on a CPU (which are for speed) never returns tensors below
32 MB: up to half more than what is alive (docs/log.md). Formulas are about what is alive, so here it returns memory.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from ner_models.planning.cards import card_named
from ner_models.planning.estimate import plan
from support import ROOT, free_port, tool

NEAR = 0.15
REAL = ROOT / "models/qwen2.5-0.5b"  # as `make download` leaves it


def random_model(folder: Path, layers: int, vocabulary: int) -> Path:
    """A random Qwen2 of width 1024 with nano's tokenizer, in float32: as large as a test can be, and useless."""
    code = f"""
import torch
from transformers import Qwen2Config, Qwen2ForCausalLM
sizes = dict(hidden_size=1024, intermediate_size=4096, num_attention_heads=16, num_key_value_heads=4)
config = Qwen2Config(vocab_size={vocabulary}, num_hidden_layers={layers}, max_position_embeddings=2048,
                     tie_word_embeddings=True, eos_token_id=4966, pad_token_id=4964, **sizes)
with torch.device("meta"):
    model = Qwen2ForCausalLM(config)
model.to_empty(device="cpu")
for weight in model.parameters():
    torch.nn.init.normal_(weight, std=0.02)
model.save_pretrained({str(folder)!r})
"""
    subprocess.run([tool(".venv-train", "python"), "-c", code], check=True)
    for path in (ROOT / "data/nano").glob("tokenizer*"):
        shutil.copy(path, folder)
    return folder


def most_memory(command: list[str], folder: Path, log: Path) -> int:
    """The most resident memory of a process, in bytes."""
    environment = {**os.environ, "AUTOWRAPT_BOOTSTRAP": "llamafactory_ner", "MALLOC_MMAP_THRESHOLD_": str(1 << 20)}
    environment.pop("MALLOC_TRIM_THRESHOLD_", None)
    # By way of a small process: ru_maxrss of a child starts from that of its parent, and this one may be large.
    code = """
import resource, subprocess, sys
status = subprocess.call(sys.argv[1:], stdout=sys.stderr)
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
sys.exit(status)
"""
    small = [sys.executable, "-S", "-c", code, *command]
    with log.open("w") as file:
        run = subprocess.run(small, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=file, text=True)
    assert run.returncode == 0, log.read_text()[-3000:]
    return int(run.stdout) * 1024


def most_below(words: str) -> Iterator[int]:
    """The most resident memory, in bytes, of the process with these words in its command and of all that it started."""
    parents, names, most = {}, {}, {}
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError, KeyError):  # it may end while it is read
            status = dict(line.split(":", 1) for line in (folder / "status").read_text().splitlines())
            names[folder.name] = (folder / "cmdline").read_text().replace("\0", " ")
            parents[folder.name] = status["PPid"].strip()
            most[folder.name] = int(status["VmHWM"].split()[0]) * 1024
    for pid in most:
        above = pid
        while above in parents and not ("vllm.entrypoints" in names[above] and words in names[above]):
            above = parents[above]
        if above in parents:
            yield most[pid]


def compare(chain: Path, base: Path, tmp_path: Path, *overrides: str, method: str = "lora") -> None:
    """Train two steps, and compare the most memory with the plan's."""
    recipe = f"recipes/nano/{method}.yaml"
    words = [f"model_name_or_path={base}", "max_steps=2", "gradient_accumulation_steps=1", *overrides]
    command = [tool(".venv-train", "llamafactory-cli"), "train", recipe, f"output_dir={tmp_path / 'out'}", *words]
    measured = most_memory([*command, "preprocessing_num_workers=1", "plot_loss=false"], chain, tmp_path / "log")
    estimated = plan(chain / recipe, [*words, f"dataset_dir={chain / 'data/alpaca'}"], card_named("cpu"))
    print(
        f"{base.name} {overrides}: planned {estimated.needed / 1e9:.3f}, measured {measured / 1e9:.3f} GB",
        file=sys.stderr,
    )
    assert estimated.needed == pytest.approx(measured, rel=NEAR), estimated.parts


@pytest.mark.train
def test_a_small_training_uses_the_planned_memory(chain: Path, tmp_path: Path) -> None:
    base = random_model(tmp_path / "base", layers=2, vocabulary=100_000)
    size = ("per_device_train_batch_size=4", "max_samples=22", "disable_gradient_checkpointing=false")
    compare(chain, base, tmp_path, *size)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize(
    ("method", "overrides"),
    [
        ("lora", ("per_device_train_batch_size=16", "disable_gradient_checkpointing=true")),
        ("lora", ("per_device_train_batch_size=16", "disable_gradient_checkpointing=false")),
        ("lora", ("per_device_train_batch_size=4", "share_prompt=false")),
        ("full", ("per_device_train_batch_size=4",)),
    ],
    ids=["kept", "recomputed", "padded", "full"],
)
@pytest.mark.train
def test_a_training_uses_the_planned_memory(
    chain: Path, tmp_path: Path, method: str, overrides: tuple[str, ...]
) -> None:
    base = random_model(tmp_path / "base", layers=8, vocabulary=32_000)
    compare(chain, base, tmp_path, "max_samples=58", *overrides, method=method)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.skipif(not REAL.is_dir(), reason=f"absent: {REAL}")
@pytest.mark.train
def test_a_real_model_uses_the_planned_memory(chain: Path, tmp_path: Path) -> None:
    size = ("per_device_train_batch_size=8", "max_samples=30", "disable_gradient_checkpointing=false", "bf16=false")
    compare(chain, REAL, tmp_path, *size)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.serve
def test_a_server_uses_the_planned_memory(tmp_path: Path) -> None:
    base, port = random_model(tmp_path / "base", layers=8, vocabulary=32_000), str(free_port())
    program = tool(".venv-serve", "ner-model")
    try:
        subprocess.run([program, "serve", str(base), "--port", port], cwd=tmp_path, check=True)
        measured = sum(most_below(f"--port {port}"))
    finally:
        subprocess.run([program, "stop", "--port", port], cwd=tmp_path, check=True)
    recipe = ROOT / "recipes/nano/lora.yaml"
    estimated = plan(recipe, [f"model_name_or_path={base}", "dataset_dir=none"], card_named("cpu")).server
    print(f"server: planned {estimated / 1e9:.3f}, measured {measured / 1e9:.3f} GB", file=sys.stderr)
    assert estimated == pytest.approx(measured, rel=NEAR)
