"""The vLLM command that serves a base model and its adapters, derived from their files."""

import json
import os
import re
import shlex
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from llamafactory_ner.checks.configs import LORA, read_model_config
from ner_common.errors import UserError, escaped, one_line, rooted
from ner_common.machine import NumberFormat, cpu_number_format, installed
from ner_models.base_models import FILE_NAME, RECIPES, base_model_of, is_small
from ner_models.schemes import AWQ, obstacle, stored_scheme
from ner_models.serving.adapters import Adapter, served_rank
from ner_models.serving.baking import baked_folder
from ner_models.serving.process import HOST, PORT, check_port
from ner_models.serving.soft_prompts import P_TUNING, SoftPrompts, chat_template

MAX_MODEL_LEN = 2048  # tokens of prompt and answer together: the longest TCM record needs about 1,000
CPU_CACHE_BYTES = 1 << 30  # vLLM would take a share of the whole machine's memory
# Tokens per block of the cache; only whole ones are shared. vLLM's 128 share nothing of CLUENER's 127-token prompt.
CPU_BLOCK = 32
RESERVED_CORES = "VLLM_CPU_NUM_OF_RESERVED_CPU"
DTYPES = ("auto", "half", "float16", "bfloat16", "float", "float32")
FLOAT32 = ("float", "float32")
# JSON that a schema forces may have white space between its parts, and models have been seen to fill up answers with
# it (vllm-project/vllm 38696, 40080). vLLM can forbid it if the backend is named: guidance takes more schemas than
# xgrammar, and vLLM 0.32 notes of xgrammar 0.2.8 that it may still write spaces after commas.
COMPACT = {"backend": "guidance", "disable_any_whitespace": True}
HOST_NAME = re.compile(r"[A-Za-z0-9:][A-Za-z0-9.:_%-]{0,252}")
KEY = re.compile(r"[!-~]+")
# Options of vLLM that ``vllm_args`` cannot change, and why: the server would not be the one that was asked for, would
# never be ready for `ner-model serve`, or would run code of the model.
FIXED = {
    "--model": "name the model with --base",
    "--served-model-name": "name an adapter with NAME=DIR",
    "--host": "use --host",
    "--port": "use --port",
    "--uds": "the server is asked over --host and --port",
    "--ssl-keyfile": "put a proxy with TLS in front of the server",
    "--ssl-certfile": "put a proxy with TLS in front of the server",
    "--headless": "the server is asked over --host and --port",
    "--api-key": "use --api-key",
    "--config": "give its options one by one",
    "--load-format": "only safetensors are loaded",
    "--trust-remote-code": "code of a model is never run",
    "--lora-modules": "name the adapters' folders",
    "--max-loras": "it follows from the adapters",
    "--logprobs-mode": "scores of entities are computed from log-probabilities",
}
# What more a server needs whose adapters are exchanged while it runs: one process that knows them.
EXCHANGE = ["--middleware", "ner_models.serving.exchange.ExchangeAdapters", "--api-server-count", "1"]
FIXED_TO_RELOAD = {"--api-server-count": "with --reloadable, one process must know all adapters"}


@dataclass(frozen=True, slots=True)
class Settings:
    """How vLLM should serve.

    Attributes:
        host, port: the address it listens on.
        dtype: number format; None: see `number_format`.
        max_model_len: maximum tokens of prompt and answer together.
        gpu_memory_utilization: share of the GPU's memory.
        tensor_parallel_size: number of GPUs to spread the model over.
        vllm_args: more arguments in one string; they override ours but `FIXED`.
        reloadable: whether `ner-model reload` may exchange LoRA adapters.
    """

    host: str = HOST
    port: int = PORT
    dtype: str | None = None
    max_model_len: int = MAX_MODEL_LEN
    gpu_memory_utilization: float = 0.9
    tensor_parallel_size: int = 1
    vllm_args: str = ""
    reloadable: bool = False

    def context(self, base: Path) -> int:
        """How many tokens a prompt and its answer may have together: at most the base model's positions."""
        config = read_model_config(base)
        return min(self.max_model_len, (config and config.max_position_embeddings) or self.max_model_len)


def check_settings(settings: Settings) -> None:
    """Refuse what vLLM would refuse after its slow start, or would not notice.

    Raises:
        UserError: see above.
    """
    check_port(settings.port)
    if not HOST_NAME.fullmatch(settings.host):
        raise UserError(f"--host {one_line(settings.host)}: not an address; name an address of this machine")
    if settings.dtype is not None and settings.dtype not in DTYPES:
        raise UserError(f"--dtype {one_line(settings.dtype)}: not one of {', '.join(DTYPES)}; choose one")
    if not 1 <= settings.max_model_len <= 1 << 24:
        raise UserError(f"--max-model-len {settings.max_model_len}: not a number of tokens; give one above 0")
    if not 0 < settings.gpu_memory_utilization <= 1:
        raise UserError(f"--gpu-memory-utilization {settings.gpu_memory_utilization}: not above 0 and up to 1")
    if not 1 <= settings.tensor_parallel_size <= 1 << 10:
        given = settings.tensor_parallel_size
        raise UserError(f"--tensor-parallel-size {given}: not a number of GPUs; give one above 0")


def check_key(api_key: str | None) -> None:
    """Refuse a key that no client could send in a header; the message does not repeat it.

    Raises:
        UserError: see above.
    """
    if api_key and not KEY.fullmatch(api_key):
        raise UserError("--api-key: holds a space, a line break or a character outside ASCII; choose another key")


def more_arguments(text: str, ours: Sequence[str], reloadable: bool = False) -> list[str]:
    """The words of ``vllm_args``; `ours` are the words of the command that soft prompts need as they are.

    Raises:
        UserError: a quote is not closed, or an option contradicts what `ner-model serve` promises.
    """
    if "\0" in text:
        raise UserError("--vllm-args: holds a null character; remove it")
    try:
        words = shlex.split(text)
    except ValueError as error:
        raise UserError(f"--vllm-args {one_line(text)}: {error}; quote it as a shell would") from None
    needed = FIXED | {word: "the soft prompts need theirs" for word in ours if word.startswith("--")}
    needed |= FIXED_TO_RELOAD if reloadable else {}
    for word in words:
        option = word.split("=", 1)[0].split(".", 1)[0].replace("_", "-")
        # argparse takes the beginning of an option's name for the option.
        found = next((name for name in needed if len(option) > 2 and name.startswith(option)), None)
        if found and option.startswith("--"):
            raise UserError(f"--vllm-args: {escaped(word)} is refused ({found}: {needed[found]}); remove it")
    return words


def vllm_command(
    settings: Settings, base: Path, served_base: str, adapters: Sequence[Adapter], soft: SoftPrompts
) -> list[str]:
    """The whole vLLM command for a base model, under the name that it is served under, and its adapters.

    Raises:
        UserError: vLLM is not installed here, or see `more_arguments`.
    """
    p_tuned = [adapter for adapter in adapters if adapter.kind == P_TUNING]
    model = baked_folder(p_tuned, base) if p_tuned else base
    address = ["--host", settings.host, "--port", str(settings.port), *(EXCHANGE if settings.reloadable else [])]
    return [*entry_point(as_word(model)), *address, *engine_arguments(settings, base, served_base, adapters, soft)]


def engine_arguments(
    settings: Settings, base: Path, served_base: str, adapters: Sequence[Adapter], soft: SoftPrompts
) -> list[str]:
    """The arguments of vLLM that say how it answers, whether to a server's clients or to a file of requests.

    Raises:
        UserError: the hardware cannot run the weights' format (see `check_format`), or see `more_arguments`.
    """
    dtype = settings.dtype or number_format(base).name
    check_format(base, dtype)
    lora = [adapter for adapter in adapters if adapter.kind == LORA]
    more = more_arguments(settings.vllm_args, soft.arguments, settings.reloadable)
    command = [
        *("--served-model-name", served_base, *soft.names),
        *("--max-model-len", str(settings.context(base))),
        # The model's own sampling defaults (Qwen2.5: repetition_penalty 1.05) would hurt copying.
        *("--generation-config", "vllm"),
        # Without it, vLLM would load a pickle (pytorch_model.bin) where there are no safetensors.
        *("--load-format", "safetensors"),
        *("--dtype", dtype),
        *("--structured-outputs-config", json.dumps(COMPACT)),
    ]
    if may_think(base):
        # Otherwise Qwen3 would think before it answers, which the recipes do not train; a request may ask for it.
        command += ["--default-chat-template-kwargs", json.dumps({"enable_thinking": False})]
    if on_cpu():
        command += ["--kv-cache-memory-bytes", str(CPU_CACHE_BYTES), "--enforce-eager", "--block-size", str(CPU_BLOCK)]
    else:
        command += ["--gpu-memory-utilization", str(settings.gpu_memory_utilization)]
    if settings.tensor_parallel_size > 1:
        command += ["--tensor-parallel-size", str(settings.tensor_parallel_size)]
    if lora:
        rank = served_rank(max(adapter.rank for adapter in lora))
        # vLLM 0.32 on a CPU takes slot -1, the last one, for "no adapter": a request to the base model in a batch with
        # a LoRA request would get that adapter's weights. With one slot more than adapters, the last one stays zero.
        # While one is exchanged, both of its versions are there.
        slots = len(lora) + settings.reloadable + on_cpu()
        command += ["--enable-lora", "--max-loras", str(slots), "--max-lora-rank", str(rank), "--lora-modules"]
        command += [lora_module(adapter) for adapter in lora]
    return command + soft.arguments + more


def cpu_environment(base: Path) -> dict[str, str]:
    """The variables of vLLM's environment for this machine, unless the user has set them.

    On a CPU vLLM keeps one core for its scheduler, which waits for answers by spinning. Of two cores that is half:
    only a small model, which asks the scheduler often, answers faster so.
    """
    shared = on_cpu() and (os.cpu_count() or 1) <= 2 and not is_small(base)
    return {RESERVED_CORES: "0"} if shared and RESERVED_CORES not in os.environ else {}


def check_format(base: Path, dtype: str) -> None:
    """Refuse quantised weights that vLLM would load here, and fail on at the first request.

    Raises:
        UserError: see above.
    """
    config = read_model_config(base)
    if config and (problem := obstacle(stored_scheme(config), dtype, on_cpu=on_cpu())):
        raise UserError(f"{rooted(base)}: {problem}")


def may_think(base: Path) -> bool:
    """Whether a model's chat template lets requests decide if the model thinks before it answers."""
    with suppress(UserError):
        return "enable_thinking" in chat_template(base)
    return False


def lora_module(adapter: Adapter) -> str:
    """One LoRA adapter for ``--lora-modules``: ``name=path``, or JSON, which vLLM expects where there is a comma."""
    if "," in str(adapter.path):
        return json.dumps({"name": adapter.name, "path": str(adapter.path)}, ensure_ascii=False)
    return f"{adapter.name}={adapter.path}"


def as_word(path: Path) -> str:
    """A path as a word of a command, which must not be taken for an option."""
    return f"./{path}" if str(path).startswith("-") else str(path)


def number_format(base: Path, *, cpu: bool | None = None, small: bool | None = None) -> NumberFormat:
    """The number format to serve a base model in if the user names none.

    On a GPU, that of its ``model.yaml``, else vLLM's choice; on a CPU, what suits the CPU, unless ``model.yaml`` says
    float32, the model is small, or its weights have 4 bits. vLLM itself would take bfloat16 on any CPU.

    Args:
        cpu: whether a CPU serves; None: as the vLLM of this environment does.
        small: whether the model is small, for weights that are not there yet; None: by their files.

    Raises:
        UserError: ``model.yaml`` names one that vLLM does not know.
    """
    cpu = on_cpu() if cpu is None else cpu
    known = base_model_of(base)
    described = known and str(RECIPES / known.name / FILE_NAME)
    if known and known.dtype not in DTYPES:
        problem = f"dtype: {one_line(known.dtype)} is not one of {', '.join(DTYPES)}; correct it"
        raise UserError(f"{described}: {problem}")
    if known and (not cpu or known.dtype in FLOAT32):
        return NumberFormat(known.dtype, f"{described} says so")
    if not cpu:
        return NumberFormat("auto", "vLLM chooses")
    if (config := read_model_config(base)) and stored_scheme(config) == AWQ:
        return NumberFormat("bfloat16", "4-bit weights are not computed in float32")
    if is_small(base) if small is None else small:
        return NumberFormat("float32", "a model this small gains nothing from less")
    return cpu_number_format()


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
