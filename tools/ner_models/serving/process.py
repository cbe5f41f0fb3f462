"""A vLLM server as a background process: state file, start, health check and stop.

``.serve/<port>.json`` records what is running (process id, models, command); ``.serve/<port>.log`` has vLLM's output.
"""

import os
import shlex
import signal
import socket
import subprocess
import time
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

import httpx
from tqdm import tqdm

from ner_common.errors import UserError, rooted
from ner_common.files import read_json, write_json

STATE = Path(".serve")
HOST = "127.0.0.1"
PORT = 8000
STOP_S = 30.0


@dataclass(frozen=True, slots=True)
class Server:
    """A started server: its process (in its own group), address and what it serves."""

    pid: int
    host: str
    port: int
    models: list[str]
    command: list[str]

    @property
    def url(self) -> str:
        host = "127.0.0.1" if self.host in ("0.0.0.0", "::") else self.host  # noqa: S104 - compared, not bound
        return f"http://{host}:{self.port}"

    @property
    def log(self) -> Path:
        return log_file(self.port)

    def save(self) -> None:
        write_json(state_file(self.port), asdict(self))

    def alive(self) -> bool:
        """Whether the process that was started still runs (and its id has not been reused)."""
        try:
            words = Path(f"/proc/{self.pid}/cmdline").read_bytes().split(b"\0")
        except OSError:
            return False
        return any(b"vllm" in word for word in words)


def state_file(port: int) -> Path:
    return STATE / f"{port}.json"


def log_file(port: int) -> Path:
    return STATE / f"{port}.log"


def load_server(port: int) -> Server | None:
    """The server that was started on a port; None if there is none, or if it has ended (removes its state file)."""
    path = state_file(port)
    if not path.is_file():
        return None
    try:
        server = Server(**read_json(path, "remove it"))
    except TypeError:
        raise UserError(f"{rooted(path)}: not a server's state; remove it and stop the server by hand") from None
    if server.alive():
        return server
    path.unlink(missing_ok=True)
    return None


def require_free(host: str, port: int) -> None:
    """Refuse a port that something listens on.

    Raises:
        UserError: the port is in use; the message names the models if the server is ours.
    """
    if server := load_server(port):
        names = ", ".join(server.models)
        raise UserError(f"port {port} is busy: a server for {names} runs there (pid {server.pid}); run `make stop`")
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise UserError(
                f"port {port} on {host} is busy ({error.strerror}); choose another with PORT=… or --port"
            ) from None


def start(command: list[str], host: str, port: int, models: list[str], environment: dict[str, str]) -> Server:
    """Start vLLM in its own process group, with its output in the log file.

    Raises:
        UserError: the state file cannot be written; vLLM has been stopped again.
    """
    STATE.mkdir(exist_ok=True)
    with log_file(port).open("wb") as log:
        process = subprocess.Popen(
            command, stdout=log, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, start_new_session=True,
            env={**os.environ, **environment},
        )  # fmt: skip
    server = Server(process.pid, host, port, models, command)
    try:
        server.save()
    except BaseException as error:
        stop(server)  # without a state file `ner-model stop` would not find it
        if not isinstance(error, OSError):
            raise
        problem = f"cannot be written ({error.strerror or error}), so vLLM was stopped again"
        raise UserError(f"{rooted(state_file(port))}: {problem}; make room and start it again") from None
    return server


def wait_until_healthy(server: Server, timeout_s: float) -> float:
    """Wait until the server answers /health, showing the last line of its log; returns the seconds it took.

    Raises:
        UserError: it ended, or was not ready in time and was stopped; the message contains the last error in the log.
    """
    begin = time.monotonic()
    print(f"starting vLLM (log: {rooted(server.log)})", flush=True)
    with tqdm(
        total=None, bar_format="{elapsed} {postfix}", leave=False, disable=None
    ) as bar:  # None: on a terminal only
        while True:
            seconds = time.monotonic() - begin
            if _healthy(server):
                return seconds
            if not server.alive():
                stop(server)
                raise UserError(
                    f"vLLM ended after {seconds:.0f} s: {last_error(server.log)}; see {rooted(server.log)}"
                )
            if seconds > timeout_s:
                stop(server)
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


def last_line(log: Path) -> str:
    lines = log.read_bytes()[-4096:].decode("utf-8", "replace").split("\n")
    return next((line.strip() for line in reversed(lines) if line.strip()), "")


def last_error(log: Path) -> str:
    """The line of a log that best explains a failed start: its last ``…Error: …``, else its last line."""
    lines = log.read_bytes()[-65536:].decode("utf-8", "replace").split("\n")
    # The engine's own error precedes the API server's "Engine core initialization failed", which explains nothing.
    named = [line for line in lines if "Error:" in line and "Engine core initialization failed" not in line]
    return (named[-1] if named else last_line(log)).strip()[-300:]


def stop(server: Server) -> None:
    """End a server and all its processes: SIGTERM to the group, after STOP_S seconds SIGKILL."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(server.pid, number)
        except ProcessLookupError:
            break
        if _gone(server.pid, STOP_S):
            break
    state_file(server.port).unlink(missing_ok=True)


def _gone(group: int, timeout_s: float) -> bool:
    """Wait until a process group has no living member."""
    end = time.monotonic() + timeout_s
    while time.monotonic() < end:
        with suppress(ChildProcessError):
            os.waitpid(group, os.WNOHANG)  # our own child would stay a zombie, and a zombie keeps its group
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.1)
    return False


def describe(server: Server, adapter: Path | None) -> str:
    """Two lines for the user: where it answers, and how to ask it (a bare curl call would lack the trained prompt)."""
    prompt = f"--adapter {shlex.quote(str(adapter))}" if adapter else "--prompt data/alpaca/CORPUS.prompt.json"
    model = f"--model {shlex.quote(server.models[-1])} --base-url {server.url}/v1"
    return (
        f"{', '.join(server.models)} at {server.url}/v1 (pid {server.pid}, log {rooted(server.log)})\n"
        f"try: echo 林晓在云帆科技任经理 | .venv/bin/ner-eval extract --pretty {model} {prompt}"
    )
