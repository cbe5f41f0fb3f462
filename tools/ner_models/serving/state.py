"""``.serve/<port>.json``: which server is being started or runs on a port, and which processes are its own.

No process is trusted by its number. The first one is known by its start time, boot and command, the others by their
session or by the mark in their environment, which they inherit: also if the first one, or `ner-model serve` itself,
was killed at any moment.
"""

import secrets
import shutil
from collections.abc import Mapping, Sequence
from functools import partial
from ipaddress import AddressValueError, IPv6Address
from pathlib import Path
from typing import Annotated

import msgspec
from msgspec.structs import asdict

from ner_common.errors import UserError, rooted
from ner_common.files import read_json, write_atomically, write_json
from ner_models.serving import identity

STATE = Path(".serve")
Word = Annotated[str, msgspec.Meta(max_length=1 << 20)]


class Server(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A server that is being started or runs: its first process (in its own session), address and what it serves.

    Attributes:
        pid: None until it is started.
        started, boot: start time of the process, and of which boot (see `identity`); not in older state files.
        mark: what all its processes have in their environment; "" in older state files. Who knows it may reload
            adapters, so only the owner may read the state file.
        stopping: `ner-model stop` is ending it.
        base: the base model's folder.
        versions: of each adapter that `ner-model reload` may exchange, the folders it was served from, the newest
            last.
    """

    pid: Annotated[int, msgspec.Meta(ge=2, le=(1 << 31) - 1)] | None
    host: Annotated[str, msgspec.Meta(min_length=1, max_length=255)]
    port: Annotated[int, msgspec.Meta(ge=1, le=65535)]
    models: Annotated[list[Word], msgspec.Meta(min_length=1)]
    command: Annotated[list[Word], msgspec.Meta(min_length=1)]
    started: Annotated[int, msgspec.Meta(ge=0)] | None = None
    boot: Word = ""
    mark: Word = ""
    stopping: bool = False
    base: Word = ""
    versions: dict[Word, Annotated[list[Word], msgspec.Meta(min_length=1)]] = {}

    @property
    def url(self) -> str:
        everywhere = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - compared, not bound
        host = everywhere.get(self.host, self.host)
        return f"http://[{host}]:{self.port}" if is_ipv6(host) else f"http://{host}:{self.port}"

    @property
    def log(self) -> Path:
        return log_file(self.port)

    @property
    def names(self) -> str:
        return ", ".join(self.models)

    def save(self) -> None:
        write_json(state_file(self.port), asdict(self), ascii_only=True, write=partial(write_atomically, mode=0o600))

    def first_process(self) -> identity.Process | None:
        """The process that was started; None if it has ended, though its number may belong to another one now."""
        found = identity.find(self.pid) if self.pid is not None and self._this_boot() else None
        if found is None or identity.command(found.pid) != self.command:
            return None
        same = found.session == found.pid if self.started is None else found.started == self.started
        return found if same else None

    def alive(self) -> bool:
        """Whether the process that was started still runs."""
        return self.first_process() is not None

    def processes(self) -> list[identity.Process]:
        """All its running processes, whether or not the first one is among them.

        They have its mark, or are in a session that one of them began: an engine that changes its title overwrites its
        environment, and with it the mark.
        """
        if not self._this_boot():
            return []
        running = list(identity.running())
        marked = {process for process in running if self.mark and identity.marked(process.pid, self.mark)}
        sessions = {process.pid: process.started for process in marked if process.session == process.pid}
        if self.pid is not None and (since := self._session_start()) is not None:
            sessions[self.pid] = since
        return [
            process
            for process in running
            if process in marked or (process.session in sessions and process.started >= sessions[process.session])
        ]

    def _session_start(self) -> int | None:
        """When the first process began its session; None if that is unknown, or its number is another process's now.

        The kernel does not give a number out again while it is that of a session with members.
        """
        if first := self.first_process():
            return first.started
        return None if identity.find(self.pid or 0) else self.started

    def _this_boot(self) -> bool:
        return not self.boot or self.boot == identity.boot()


def new_server(
    host: str,
    port: int,
    models: Sequence[str],
    command: Sequence[str],
    base: Path | None = None,
    versions: Mapping[str, Path] | None = None,
) -> Server:
    """A server that is not started yet; ``versions``: the folders of the adapters that may be reloaded."""
    first = {name: [str(path)] for name, path in (versions or {}).items()}
    mark = secrets.token_hex(16)
    return Server(
        None, host, port, list(models), list(command), boot=identity.boot(), mark=mark, base=str(base or ""),
        versions=first,
    )  # fmt: skip


def state_file(port: int) -> Path:
    return STATE / f"{port}.json"


def versions_folder(port: int) -> Path:
    """Where the versions of a server's adapters are kept: ``.serve/<port>/NAME/NUMBER``."""
    return STATE / str(port)


def forget(port: int) -> None:
    """Remove what is known of a server that has ended."""
    state_file(port).unlink(missing_ok=True)
    shutil.rmtree(versions_folder(port), ignore_errors=True)


def log_file(port: int) -> Path:
    return STATE / f"{port}.log"


def is_ipv6(host: str) -> bool:
    try:
        IPv6Address(host)
    except AddressValueError:
        return False
    return True


def read_state(port: int) -> Server | None:
    """What the state file of a port says; None if there is none.

    Raises:
        UserError: it is not a server's state.
    """
    path, remedy = state_file(port), "not a server's state; remove it and stop the server by hand"
    if not path.is_file():
        return None
    server = read_json(path, remedy, Server)
    if server.port != port:
        raise UserError(f"{rooted(path)}: port: {server.port} is not {port}; {remedy}")
    return server
