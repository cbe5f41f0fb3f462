"""A vLLM of a test's own, started without our settings."""

import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from contextlib import suppress
from pathlib import Path

PORT = 8437
ANSWERED = '"POST /v1/chat/completions HTTP/1.1" 200'  # in vLLM's log


class OwnServer:
    """A vLLM server that a test may stop, freeze and restart; it knows nano as ``own`` too."""

    base_url = f"http://127.0.0.1:{PORT}/v1"

    def __init__(self, model: Path, log: Path) -> None:
        self.model, self.log = model, log

    def start(self) -> None:
        command = [
            *(sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--model", str(self.model)),
            *("--served-model-name", "own", "nano", "--host", "127.0.0.1", "--port", str(PORT)),
            *("--max-model-len", "1024", "--enforce-eager"),
            *("--dtype", "float32", "--kv-cache-memory-bytes", "268435456", "--generation-config", "vllm"),
        ]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)

    def wait(self) -> None:
        for _ in range(600):
            assert self.process.poll() is None, self.log.read_text()[-2000:]
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{PORT}/health", timeout=2):
                    return
            except (urllib.error.URLError, OSError):
                time.sleep(0.5)
        raise AssertionError(self.log.read_text()[-2000:])

    def answered(self) -> int:
        """How many requests it has answered so far."""
        return self.log.read_text().count(ANSWERED)

    def signal(self, number: signal.Signals) -> None:
        with suppress(ProcessLookupError):  # a test has killed it
            os.killpg(self.process.pid, number)

    def stop(self) -> None:
        """Like `ner-model stop`: vLLM does not end by itself while a client waits for an answer that never comes."""
        self.signal(signal.SIGTERM)
        try:
            self.process.wait(15)
        except subprocess.TimeoutExpired:
            self.signal(signal.SIGKILL)
            self.process.wait(60)
