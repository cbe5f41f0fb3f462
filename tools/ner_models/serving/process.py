"""A vLLM server as a background process: start, health check and stop.

``.serve/<port>.log`` has vLLM's output; its lock is held while a server is being started, so a port gets one only.
"""

import errno
import os
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx
from msgspec.structs import replace
from tqdm import tqdm

from ner_common.errors import UserError, rooted
from ner_common.files import locked
from ner_models.serving import identity
from ner_models.serving.log import last_error, last_line
from ner_models.serving.state import Server, forget, is_ipv6, log_file, read_state, state_file, versions_folder

HOST = "127.0.0.1"
PORT = 8000
STOP_S = 30.0
BUSY = (errno.EADDRINUSE, errno.EACCES)


def check_port(port: int) -> None:
    """Refuse a number that is no port; 0 would be another one each time.

    Raises:
        UserError: see above.
    """
    if not 1 <= port <= 65535:
        raise UserError(f"--port {port}: a port is a number from 1 to 65535; choose another")


def load_server(port: int) -> Server | None:
    """The server that runs or is being started on a port, or what is left of it; None if nothing is.

    The state file of a server that has ended is removed.
    """
    server = read_state(port)
    if server is None or server.processes() or (server.pid is None and _being_started(port)):
        return server
    if _is_current(server):
        forget(port)
    return None


def _being_started(port: int) -> bool:
    try:
        with locked(log_file(port), ""):
            return False
    except UserError:
        return True


def require_free(host: str, port: int) -> None:
    """Refuse a port that something listens on, or will soon.

    Raises:
        UserError: the port is in use, and the message names the models if the server is ours; or this machine has no
            such address.
    """
    server = load_server(port)
    if server and (server.alive() or (server.pid is None and _being_started(port))):
        does = "is being started" if server.pid is None else "runs"
        process = f" (pid {server.pid})" if server.pid else ""
        raise UserError(f"port {port} is busy: a server for {server.names} {does} there{process}; run `make stop`")
    if server is None:  # else `reserved` ends what is left of it first
        _probe(host, port)


def _probe(host: str, port: int) -> None:
    with socket.socket(socket.AF_INET6 if is_ipv6(host) else socket.AF_INET) as probe:  # as vLLM does
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except (OSError, UnicodeError) as error:
            reason = getattr(error, "strerror", None) or error
            if isinstance(error, OSError) and error.errno in BUSY:
                problem = f"port {port} on {host} is busy ({reason}); choose another with PORT=… or --port"
            else:
                problem = f"--host {host}: cannot listen there ({reason}); name an address of this machine"
            raise UserError(problem) from None


@contextmanager
def reserved(server: Server) -> Iterator[None]:
    """Hold a server's port while it is started in the block; if that fails, nothing of it is left.

    Raises:
        UserError: the port is in use, or taken by another `ner-model serve`; or the state file cannot be written.
    """
    require_free(server.host, server.port)
    busy = f"another `ner-model serve` is starting a server on port {server.port}; wait for it, or run `make stop`"
    with locked(server.log, busy):
        before = read_state(server.port)
        if before and before.alive():
            require_free(server.host, server.port)
        if before:
            if left := len(before.processes()):
                print(f"note: ending what is left of {before.names} (processes: {left})", file=sys.stderr, flush=True)
            stop(before)
        shutil.rmtree(versions_folder(server.port), ignore_errors=True)
        _probe(server.host, server.port)
        try:
            _save(server, "vLLM was not started")
            yield
        except BaseException:
            stop(server)
            raise


def _save(server: Server, consequence: str) -> None:
    try:
        server.save()
    except OSError as error:
        problem = f"cannot be written ({error.strerror or error}), so {consequence}"
        raise UserError(f"{rooted(state_file(server.port))}: {problem}; make room and start it again") from None


def check_wanted(server: Server) -> None:
    """Refuse to go on if `ner-model stop` was run since the start began.

    Raises:
        UserError: see above.
    """
    state = read_state(server.port)
    if state is None or state.stopping or state.mark != server.mark:
        raise UserError(f"{server.names}: stopped by `ner-model stop` before it was ready")


def start(server: Server, environment: dict[str, str]) -> Server:
    """Start vLLM in a session of its own, with its output in the log file; inside `reserved`.

    Raises:
        UserError: the state file cannot be written, or `ner-model stop` was run.
    """
    check_wanted(server)
    with server.log.open("wb") as log:
        process = subprocess.Popen(
            server.command, stdout=log, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, start_new_session=True,
            env={**os.environ, **environment, identity.MARK: server.mark},
        )  # fmt: skip
    found = identity.find(process.pid)
    server = replace(server, pid=process.pid, started=found and found.started)
    check_wanted(server)
    _save(server, "vLLM was stopped again")  # without a state file `ner-model stop` would not find it
    return server


def wait_until_healthy(server: Server, timeout_s: float) -> float:
    """Wait until the server answers /health, showing the last line of its log; returns the seconds it took.

    Raises:
        UserError: it ended, or was not ready in time; the message contains the last error in the log.
    """
    begin = time.monotonic()
    print(f"starting vLLM (log: {rooted(server.log)})", flush=True)
    with tqdm(
        total=None, bar_format="{elapsed} {postfix}", leave=False, disable=None
    ) as bar:  # None: on a terminal only
        while True:
            seconds = time.monotonic() - begin
            if not server.alive():
                check_wanted(server)
                error = last_error(server.log)
                raise UserError(f"vLLM ended after {seconds:.0f} s: {error}; see {rooted(server.log)}")
            if _healthy(server):
                return seconds
            if seconds > timeout_s:
                raise UserError(
                    f"vLLM was not ready after {timeout_s:.0f} s; see {rooted(server.log)}, or raise --timeout"
                )
            bar.set_postfix_str(last_line(server.log)[-90:])
            time.sleep(0.5)


def _healthy(server: Server) -> bool:
    try:
        return httpx.get(f"{server.url}/health", timeout=2.0).status_code == httpx.codes.OK
    except httpx.HTTPError:
        return False


def follow(server: Server) -> None:
    """Print a server's log until the server ends; however that comes about, nothing of the server is left then.

    Raises:
        UserError: the server ended by itself, not by `ner-model stop`.
    """
    try:
        with server.log.open(encoding="utf-8", errors="replace") as log:
            alive = True
            while alive:
                alive = server.alive()
                print(log.read(), end="", flush=True)
                time.sleep(0.5)
        state = read_state(server.port)
        if state and state.mark == server.mark and not state.stopping:
            raise UserError(f"vLLM ended: {last_error(server.log)}; see {rooted(server.log)}, and start it again")
    finally:
        stop(server)


def stop(server: Server) -> None:
    """End a server and all its processes: SIGTERM, after STOP_S seconds SIGKILL; then its state file goes.

    Raises:
        UserError: a process cannot be ended.
    """
    if _is_current(server):
        with suppress(OSError):  # a full disk must not keep a server running
            replace(server, stopping=True).save()  # `ner-model serve`, if it is still starting it, gives up
    own: set[identity.Process] = set()  # the session is not known any more once its first process has ended
    for number in (signal.SIGTERM, signal.SIGKILL):
        told: set[identity.Process] = set()
        end = time.monotonic() + STOP_S
        while time.monotonic() < end:
            own = {process for process in own | set(server.processes()) if identity.find(process.pid) == process}
            if not own:
                break
            for process in own - told:
                identity.send(process, number)
            told |= own
            time.sleep(0.1)
    if own:
        left = ", ".join(str(process.pid) for process in own)
        raise UserError(f"{server.names}: these processes do not end: {left}; end them by hand and run this again")
    if server.pid is not None:
        with suppress(ChildProcessError):
            os.waitpid(server.pid, os.WNOHANG)  # our own child would stay a zombie
    if _is_current(server):
        forget(server.port)


def _is_current(server: Server) -> bool:
    """Whether the port's state file is this server's, not a later one's."""
    state = read_state(server.port)
    return state is not None and state.mark == server.mark


def describe(server: Server, adapter: Path | None) -> str:
    """Two lines for the user: where it answers, and how to ask it (a bare curl call would lack the trained prompt)."""
    prompt = f"--adapter {shlex.quote(str(adapter))}" if adapter else "--prompt data/alpaca/CORPUS.prompt.json"
    model = f"--model {shlex.quote(server.models[-1])} --base-url {shlex.quote(f'{server.url}/v1')}"
    return (
        f"{server.names} at {server.url}/v1 (pid {server.pid}, log {rooted(server.log)})\n"
        f"try: echo 嘉力中学收下了云帆证券的捐赠。 | .venv/bin/ner-eval extract --pretty {model} {prompt}"
    )
