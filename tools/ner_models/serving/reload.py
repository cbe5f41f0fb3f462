"""``ner-model reload``: exchange an adapter of a running server for another version, or go back, without a restart.

Requests that are being answered finish with the version they began with; see `ner_models.serving.exchange`.
"""

import argparse
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import msgspec
from msgspec.structs import replace

from llamafactory_ner.checks.configs import LORA
from ner_common.adapters import served_name
from ner_common.decoding import decode_json
from ner_common.errors import UserError, escaped, one_line, rooted
from ner_common.files import locked
from ner_data.prompt import FILE_NAME as PROMPT
from ner_models.serving import process
from ner_models.serving.adapters import Adapter, check_base, load_adapter, refusals, warn_of_another_name
from ner_models.serving.exchange import DRAIN_S, PATH, Exchange
from ner_models.serving.state import Server, versions_folder
from ner_models.serving.versions import keep_version, next_version

TIMEOUT = DRAIN_S + 240.0  # seconds: the old version's last answers, and the loading


class _Error(msgspec.Struct, frozen=True):
    message: str


class _Refusal(msgspec.Struct, frozen=True):
    error: _Error


def reload(name: str, folder: Path, *, port: int = process.PORT) -> Path:
    """Serve another version of an adapter under its name.

    Returns:
        The folder of the copy that is served now.

    Raises:
        UserError: no such server, one that was not started with `reloadable`, a name that it does not serve, or an
            adapter that it cannot serve; the version before is still served.
    """
    with _changing(port, name) as server:
        served = Path(server.versions[name][-1])
        check_fit(load_adapter(name, folder), server)
        if _prompt(folder) != _prompt(served):
            print(f"warning: {rooted(folder)}: has another {PROMPT}; clients must ask with it now", file=sys.stderr)
        version = next_version(name, port)
        keep_version(folder, version)
        _exchange(server, name, [*server.versions[name], str(version)])
        return version


def roll_back(name: str, *, port: int = process.PORT) -> Path:
    """Serve the version again that was served before the last `reload`; returns its folder.

    Raises:
        UserError: see `reload`; or there is none.
    """
    with _changing(port, name) as server:
        *before, _ = server.versions[name]
        if not before:
            raise UserError(f"{name}: has no version before the served one; name a folder with {name}=DIR")
        _exchange(server, name, before)
        return Path(before[-1])


@contextmanager
def _changing(port: int, name: str) -> Iterator[Server]:
    """The server on a port, of which this process alone exchanges adapters in the block."""
    process.check_port(port)
    _server(port, name)
    with locked(versions_folder(port), "another `ner-model reload` is running; wait for it"):
        yield _server(port, name)  # read again: another one may just have ended


def _server(port: int, name: str) -> Server:
    server = process.load_server(port)
    if server is None or not server.alive():
        raise UserError(f"no server started by ner-model runs on port {port}; start one, or name its --port")
    if not server.versions:
        problem = f"the server on port {port} cannot exchange adapters"
        raise UserError(f"{problem}; stop it, and start it again with --reloadable (make serve RELOADABLE=1)")
    if name not in server.versions:
        problem = f"{one_line(name)}: no LoRA adapter of this name is served on port {port}"
        raise UserError(f"{problem}; it serves {', '.join(server.versions)}: name it with NAME=DIR")
    return server


def check_fit(adapter: Adapter, server: Server) -> None:
    """Refuse an adapter that a running server cannot serve.

    Raises:
        UserError: it is no LoRA adapter, has what vLLM rejects, another base or a rank above the server's.
    """
    shown = rooted(adapter.path)
    if adapter.kind != LORA:
        raise UserError(f"{shown}: only LoRA adapters can be exchanged, not {adapter.kind}; start a server with it")
    if reasons := refusals(adapter):
        raise UserError(f"{shown}: vLLM cannot serve this adapter: {'; '.join(reasons)}; merge it with `make merge`")
    check_base(adapter, Path(server.base))
    warn_of_another_name(adapter, Path(server.base))
    highest = highest_rank(server)
    if adapter.rank > highest:
        problem = f"its rank {adapter.rank} is above the {highest} that the server reserved memory for"
        remedy = 'start the server again with --vllm-args "--max-lora-rank N", or with this adapter'
        raise UserError(f"{shown}: {problem}; {remedy}")


def highest_rank(server: Server) -> int:
    """The last ``--max-lora-rank`` of a server's command."""
    option = "--max-lora-rank"
    words = " ".join(server.command).replace(f"{option}=", f"{option} ").split()
    return int(words[len(words) - words[::-1].index(option)])


def _prompt(folder: Path) -> bytes | None:
    return (folder / PROMPT).read_bytes() if (folder / PROMPT).is_file() else None


def _exchange(server: Server, name: str, versions: list[str]) -> None:
    """Have the server load the last of an adapter's versions.

    The state file says so first: what the server may have loaded is known, also if this process is killed.

    Raises:
        UserError: the server refuses, or does not answer.
    """
    replace(server, versions={**server.versions, name: versions}).save()
    body = msgspec.json.encode(Exchange(name, versions[-1]))
    headers = {"Authorization": f"Bearer {server.mark}"}
    try:
        answer = httpx.post(f"{server.url}{PATH}", content=body, headers=headers, timeout=TIMEOUT)
        refused = answer.status_code != httpx.codes.OK
        problem = decode_json(answer.content, _Refusal).error.message if refused else ""
    except (httpx.HTTPError, ValueError) as error:
        problem = f"no answer that says whether {name} was exchanged ({escaped(str(error), 200)})"
        raise UserError(f"{server.url}: {problem}; see {rooted(server.log)}, and run this again") from None
    if refused:
        server.save()
        if versions[-1] not in server.versions[name]:
            shutil.rmtree(versions[-1], ignore_errors=True)
        raise UserError(f"{server.url}: {name} was not exchanged: {escaped(problem, 300)}; see {rooted(server.log)}")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add, shown = parser.add_argument, "(default: %(default)s)."
    add("adapter", metavar="NAME=DIR", help="The name that clients ask for, and the folder of its new version.")
    add("--rollback", action="store_true", help="Go back to the version before the served one; give only NAME.")
    add("--port", type=int, default=process.PORT, help=f"The server's port {shown}")


def run(args: argparse.Namespace) -> None:
    name, found, folder = args.adapter.partition("=")
    if args.rollback:
        if found:
            raise UserError("--rollback: takes the name alone; remove the folder")
        version = roll_back(name, port=args.port)
        print(f"{name} is served from {rooted(version)} again")
        return
    name, path = (name, Path(folder)) if found else (served_name(Path(name)), Path(name))
    version = reload(name, path, port=args.port)
    print(f"{name} is served from {rooted(version)}, a copy of {rooted(path)}")
    print(f"go back with: ner-model reload --rollback {name} --port {args.port}")
