"""``ner-model serve``: vLLM with a base model and any number of adapters, behind its OpenAI API.

The vLLM command is derived from the adapters (base, rank, names), checked for what vLLM would reject, printed, and run
in the background on 127.0.0.1; `ner-model serve` returns once the server answers (with ``--foreground``: when it has
ended). `ner-model stop` stops it.
"""

import argparse
import os
import shlex
import signal
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import fields, replace
from pathlib import Path

import httpx
import msgspec

from llamafactory_ner.checks.configs import LORA, read_model_config
from ner_common.adapters import is_whole_model, served_name
from ner_common.decoding import decode_json
from ner_common.errors import UserError, escaped, rooted
from ner_common.files import locked, write_atomically
from ner_common.weights import check_weights
from ner_models.serving import process, soft_prompts
from ner_models.serving.adapters import (
    Adapter,
    check_base,
    check_name,
    check_path,
    load_adapter,
    refusals,
    warn_of_another_name,
)
from ner_models.serving.baking import bake_checkpoint, baked_folder
from ner_models.serving.command import (
    MAX_MODEL_LEN,
    Settings,
    check_key,
    check_settings,
    cpu_environment,
    number_format,
    vllm_command,
)
from ner_models.serving.state import STATE, Server, new_server
from ner_models.serving.versions import first_versions, keep_version


def serve(
    adapters: Sequence[str],
    *,
    base: Path | None = None,
    settings: Settings | None = None,
    api_key: str | None = None,
    timeout: float = 900.0,
    dry_run: bool = False,
) -> Server | None:
    """Start vLLM in the background and wait until it answers; its command is printed.

    Args:
        adapters: folders of adapters, or of one whole model (see `read_models`), each ``DIR`` or ``NAME=DIR``.
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
    check_settings(settings)
    check_key(api_key)
    if not 0 < timeout < float("inf"):
        raise UserError(f"--timeout {timeout}: not a number of seconds to wait; give one above 0")
    base, served_base, loaded = read_models(adapters, base)
    names = [served_base, *(adapter.name for adapter in loaded)]
    trained = [adapter.path for adapter in loaded] or ([base] if adapters else [])
    copies = first_versions(loaded, settings.port) if settings.reloadable else {}
    served = [replace(adapter, path=copies.get(adapter.name, adapter.path)) for adapter in loaded]
    soft = soft_prompts.plan(base, served_base, loaded, settings.context(base), STATE)
    command = vllm_command(settings, base, served_base, served, soft)
    if not dry_run:
        process.require_free(settings.host, settings.port)
    environment = soft.environment | cpu_environment(base)
    assignments = [f"{name}={value}" for name, value in environment.items()]
    print(shlex.join([*assignments, *command]), flush=True)
    for note in soft.notes:
        print(f"note: {note}", file=sys.stderr, flush=True)
    if dry_run:
        return None
    if settings.dtype is None:
        print(number_format(base).said("--dtype (make: DTYPE=…)"), flush=True)
    environment |= {"VLLM_API_KEY": api_key} if api_key else {}
    server = new_server(settings.host, settings.port, names, command, base, copies)
    with process.reserved(server):
        prepare(base, loaded, copies, soft)
        server = process.start(server, environment)
        seconds = process.wait_until_healthy(server, timeout)
        require_served(server, api_key)
    print(f"ready after {seconds:.0f} s: {process.describe(server, trained[-1] if trained else None)}")
    return server


def prepare(base: Path, adapters: list[Adapter], copies: dict[str, Path], soft: soft_prompts.SoftPrompts) -> None:
    """Write what vLLM will read: the chat template, the copies of adapters that may be exchanged, and the baked copy
    of the base model unless it is there.
    """
    for adapter in adapters:
        if adapter.name in copies:
            keep_version(adapter.path, copies[adapter.name])
    for path, text in soft.files.items():
        with write_atomically(path) as file:
            file.write(text)
    if p_tuned := [adapter for adapter in adapters if adapter.kind == soft_prompts.P_TUNING]:
        baked = baked_folder(p_tuned, base)
        with locked(baked.with_name(f"{baked.name}.lock"), "is being baked", wait=True):
            if not baked.is_dir():
                names = ", ".join(rooted(adapter.path) for adapter in p_tuned)
                print(f"baking {names} into {rooted(baked)}", flush=True)
                bake_checkpoint(p_tuned, base, baked)


def _name_and_path(text: str) -> tuple[str, Path]:
    """``NAME=DIR``, or DIR alone: saves/nano/lora/demo is called nano-lora-demo, other folders by their own name."""
    name, found, path = text.partition("=")
    if found:
        return name, Path(path)
    return served_name(Path(text)), Path(text)


def read_models(words: Sequence[str], base: Path | None) -> tuple[Path, str, list[Adapter]]:
    """The base model, the name it is served under, and the adapters; `words` are ``DIR`` or ``NAME=DIR``.

    A folder that holds a whole model, as full fine-tuning and merging leave it, is a base model with a given name.

    Raises:
        UserError: there are two base models, or none; or see `load_adapter` and `check`.
    """
    named = [_name_and_path(word) for word in words]
    whole = [(name, path) for name, path in named if is_whole_model(path)]
    loaded = [load_adapter(name, path) for name, path in named if not is_whole_model(path)]
    if whole:
        served_base, path = whole[0]
        if others := [other for other in (*(other for _, other in whole[1:]), base) if other]:
            problem = f"a whole model, and so is {rooted(others[0])}, but a server has one"
            raise UserError(f"{rooted(path)}: {problem}; serve them one after the other, or each on its own --port")
        base = path
    else:
        base = base or common_base(loaded)
        served_base = base.resolve().name
    check(base, [served_base, *(adapter.name for adapter in loaded)], loaded)
    return base, served_base, loaded


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


def check(base: Path, names: Sequence[str], adapters: list[Adapter]) -> None:
    """Refuse before the slow start what vLLM would refuse after it; `names` are those of the models to serve.

    Raises:
        UserError: no base model, two models share a name, an adapter has another base, or vLLM cannot serve it.
    """
    check_path(base)
    if read_model_config(base) is None:
        raise UserError(
            f"{rooted(base)}: no model there (no config.json); `make download`, or name its folder with --base"
        )
    check_weights(base, "download the model again, or convert its weights to safetensors")
    for name in names:
        check_name(name)
    if doubled := [name for name, count in Counter(names).items() if count > 1]:
        raise UserError(f"two models are called {doubled[0]}; give one of them another name with NAME=DIR")
    for adapter in adapters:
        if adapter.kind in soft_prompts.KINDS:
            continue
        if adapter.kind != LORA:
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


class _Listed(msgspec.Struct, frozen=True):
    id: str


class _Models(msgspec.Struct, frozen=True):
    """The answer to ``/v1/models``: ``{"object": "list", "data": [{"id": "nano", ...}]}``."""

    data: list[_Listed]


ANSWER_BYTES = 1 << 20


def require_served(started: Server, api_key: str | None) -> None:
    """Check that the server lists every name it should.

    Raises:
        UserError: it does not (another server may have answered on this port).
    """
    headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
    body = b""
    try:
        with httpx.stream("GET", f"{started.url}/v1/models", headers=headers, timeout=30.0) as answer:
            answer.raise_for_status()
            for part in answer.iter_raw():
                body += part
                if len(body) > ANSWER_BYTES:
                    raise ValueError(f"more than {ANSWER_BYTES:,} bytes")
        listed = {model.id for model in decode_json(body, _Models).data}
    except (httpx.HTTPError, ValueError) as error:
        problem = escaped(str(error), 160)
        raise UserError(f"{started.url}/v1/models: not vLLM's list ({problem}); see {rooted(started.log)}") from None
    if missing := [name for name in started.models if name not in listed]:
        raise UserError(f"vLLM does not serve {', '.join(missing)}; see {rooted(started.log)}")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add, shown = parser.add_argument, "(default: %(default)s)."
    add_model_arguments(parser)
    add("--host", default=process.HOST, help=f"The address of this machine to listen on {shown}")
    add("--port", type=int, default=process.PORT, help=f"The port to listen on {shown}")
    add(
        "--api-key",
        default=os.environ.get("VLLM_API_KEY"),
        help="A key that clients must send as a bearer token (default: $VLLM_API_KEY).",
    )
    add(
        "--reloadable",
        action="store_true",
        help="Let `ner-model reload` exchange LoRA adapters while the server runs. Only who may read the server's "
        "state file can. One more adapter's memory is reserved.",
    )
    add("--timeout", type=float, default=900.0, help=f"How many seconds the start may take {shown}")
    add("--dry-run", action="store_true", help="Print vLLM's command, and write and start nothing.")
    add(
        "--foreground",
        action="store_true",
        help="Print the server's log until it ends, and stop it on SIGTERM or Ctrl-C: for containers and systemd.",
    )


def add_model_arguments(parser: argparse.ArgumentParser) -> None:
    """What is served, and how vLLM computes it."""
    add, shown = parser.add_argument, "(default: %(default)s)."
    add(
        "adapters",
        nargs="*",
        metavar="[NAME=]DIR",
        help="Adapter folders, such as saves/MODEL/METHOD/CORPUS, or the folder of one fully fine-tuned or merged "
        "model. Clients ask for each by its NAME.",
    )
    add("--base", type=Path, metavar="DIR", help="The base model (default: the one the adapters were trained on).")
    add(
        "--dtype",
        help="The number format: auto, float32, bfloat16, or half for cards without bf16 (default: the base "
        "model's in its model.yaml; on a CPU bfloat16 if it has instructions for that, else float32).",
    )
    add(
        "--max-model-len",
        type=int,
        default=MAX_MODEL_LEN,
        help=f"The most tokens that a prompt and its answer may have together {shown}",
    )
    add(
        "--gpu-memory-utilization",
        type=float,
        default=0.9,
        help=f"The share of the GPU's memory to use, above 0 and up to 1 {shown}",
    )
    add("--tensor-parallel-size", type=int, default=1, help=f"The number of GPUs to spread the model over {shown}")
    add(
        "--vllm-args",
        default="",
        metavar="ARGS",
        help="More arguments for vLLM in one string, quoted as for a shell. They override ours, except those that "
        "decide what is served and where.",
    )


def run(args: argparse.Namespace) -> None:
    settings = Settings(**{field.name: getattr(args, field.name) for field in fields(Settings)})
    if args.foreground:  # the first process of a container ignores SIGTERM unless it handles it
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    server = serve(
        args.adapters,
        base=args.base,
        settings=settings,
        api_key=args.api_key,
        timeout=args.timeout,
        dry_run=args.dry_run,
    )
    if server and args.foreground:
        process.follow(server)
