"""``ner-model serve``: vLLM with a base model and any number of adapters, behind its OpenAI API.

The vLLM command is derived from the adapters (base, rank, names), checked for what vLLM would reject, printed, and run
in the background on 127.0.0.1; `ner-model serve` returns once the server answers. `ner-model stop` stops it.
"""

import argparse
import os
import shlex
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path

import httpx

from ner_common.errors import UserError, rooted
from ner_common.files import write_atomically
from ner_models.serving import process, soft_prompts
from ner_models.serving.adapters import Adapter, check_base, load_adapter, refusals, warn_of_another_name
from ner_models.serving.baking import bake_checkpoint, baked_folder
from ner_models.serving.command import MAX_MODEL_LEN, Settings, vllm_command
from ner_models.serving.middleware import limits


def serve(
    adapters: Sequence[str],
    *,
    base: Path | None = None,
    settings: Settings | None = None,
    api_key: str | None = None,
    timeout: float = 900.0,
    dry_run: bool = False,
) -> process.Server | None:
    """Start vLLM in the background and wait until it answers; its command is printed.

    Args:
        adapters: adapter folders, each ``DIR`` or ``NAME=DIR``.
        base: the base model's folder; by default the one the adapters were trained on.
        settings: how vLLM should serve.
        api_key: what clients must send as bearer token.
        timeout: seconds to wait for the start.
        dry_run: print the command and write and start nothing.

    Returns:
        The server; None after a dry run.

    Raises:
        UserError: an adapter or base model cannot be served, the port is busy, or vLLM did not start.
    """
    settings = settings or Settings()
    loaded = [load_adapter(*_name_and_path(text)) for text in adapters]
    base = base or common_base(loaded)
    check(base, loaded)
    names = [base.resolve().name, *(adapter.name for adapter in loaded)]
    soft = soft_prompts.plan(base, base.resolve().name, loaded, settings.context(base), process.STATE)
    command = vllm_command(settings, base, loaded, soft)
    if not dry_run:
        process.require_free(settings.host, settings.port)
    assignments = [f"{name}={value}" for name, value in soft.environment.items()]
    print(shlex.join([*assignments, *command]), flush=True)
    if soft.names:
        print(f"note: {limits(soft.names)}", file=sys.stderr, flush=True)
    if dry_run:
        return None
    for path, text in soft.files.items():
        with write_atomically(path) as file:
            file.write(text)
    for adapter in loaded:
        if adapter.kind == soft_prompts.P_TUNING and not (baked := baked_folder(adapter, base)).is_dir():
            print(f"baking {rooted(adapter.path)} into {rooted(baked)}", flush=True)
            bake_checkpoint(adapter, base, baked)
    environment = soft.environment | ({"VLLM_API_KEY": api_key} if api_key else {})
    started = process.start(command, settings.host, settings.port, names, environment)
    try:
        seconds = process.wait_until_healthy(started, timeout)
        require_served(started, api_key)
    except BaseException:
        process.stop(started)
        raise
    print(f"ready after {seconds:.0f} s: {process.describe(started, loaded[-1].path if loaded else None)}")
    return started


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
        UserError: there are no adapters, or they have several bases.
    """
    bases = sorted({adapter.base for adapter in adapters})
    if not bases:
        raise UserError("nothing to serve: name adapter folders, or a base model with --base")
    if len(bases) > 1:
        raise UserError(
            f"the adapters were trained on several bases ({', '.join(bases)}); serve them separately, one port each"
        )
    return Path(bases[0])


def check(base: Path, adapters: list[Adapter]) -> None:
    """Refuse before the slow start what vLLM would refuse after it.

    Raises:
        UserError: no base model, two models share a name, an adapter has another base, or vLLM cannot serve it.
    """
    if not (base / "config.json").is_file():
        raise UserError(
            f"{rooted(base)}: no model there (no config.json); `make download`, or name its folder with --base"
        )
    names = Counter([base.resolve().name, *(adapter.name for adapter in adapters)])
    if doubled := [name for name, count in names.items() if count > 1]:
        raise UserError(f"two models are called {doubled[0]}; give one of them another name with NAME=DIR")
    for adapter in adapters:
        if adapter.kind in soft_prompts.KINDS:
            continue
        if adapter.kind != "LORA":
            remedy = "train with finetuning_type: lora, p_tuning or prefix_tuning"
            raise UserError(
                f"{rooted(adapter.path)}: only LoRA and soft prompts are served, not {adapter.kind}; {remedy}"
            )
        if reasons := refusals(adapter):
            problem = f"vLLM cannot serve this adapter: {'; '.join(reasons)}"
            raise UserError(f"{rooted(adapter.path)}: {problem}; merge it with `make merge`")
    for adapter in adapters:
        check_base(adapter, base)
    for adapter in adapters:
        warn_of_another_name(adapter, base)


def require_served(started: process.Server, api_key: str | None) -> None:
    """Check that the server lists every name it should.

    Raises:
        UserError: it does not (another server may have answered on this port).
    """
    headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
    answer = httpx.get(f"{started.url}/v1/models", headers=headers, timeout=30.0)
    listed = {model["id"] for model in answer.raise_for_status().json()["data"]}
    if missing := [name for name in started.models if name not in listed]:
        raise UserError(f"vLLM does not serve {', '.join(missing)}; see {rooted(started.log)}")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "adapters", nargs="*", metavar="[NAME=]DIR", help="adapter folders, such as saves/MODEL/METHOD/CORPUS"
    )
    parser.add_argument(
        "--base", type=Path, metavar="DIR", help="base model (default: the one the adapters were trained on)"
    )
    parser.add_argument("--host", default=process.HOST, help="address to listen on (default: %(default)s)")
    parser.add_argument("--port", type=int, default=process.PORT, help="port to listen on (default: %(default)s)")
    parser.add_argument(
        "--api-key",
        default=os.environ.get("VLLM_API_KEY"),
        help="require this key from clients (default: $VLLM_API_KEY)",
    )
    parser.add_argument(
        "--dtype",
        help="auto, float32, bfloat16, or half for cards without bf16 (default: the base model's; float32 on a CPU)",
    )
    parser.add_argument(
        "--max-model-len",
        type=int,
        default=MAX_MODEL_LEN,
        help="maximum tokens of prompt and answer together (default: %(default)s)",
    )
    parser.add_argument(
        "--gpu-memory-utilization",
        type=float,
        default=0.9,
        help="share of the GPU's memory to use (default: %(default)s)",
    )
    parser.add_argument(
        "--tensor-parallel-size", type=int, default=1, help="GPUs to spread the model over (default: %(default)s)"
    )
    parser.add_argument(
        "--timeout", type=float, default=900.0, help="seconds to wait for the start (default: %(default)s)"
    )
    parser.add_argument(
        "--vllm-args", default="", metavar="ARGS", help="more arguments for vLLM, in one string; they override ours"
    )
    parser.add_argument("--dry-run", action="store_true", help="print the command; write and start nothing")


def run(args: argparse.Namespace) -> None:
    settings = Settings(**{field.name: getattr(args, field.name) for field in fields(Settings)})
    serve(
        args.adapters,
        base=args.base,
        settings=settings,
        api_key=args.api_key,
        timeout=args.timeout,
        dry_run=args.dry_run,
    )
