"""Run what the pages of the documentation say, as a reader does, in a copy of the repository on ports of its own."""

import itertools
import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest

from make_support import OURS, link, link_environments
from support import ROOT, free_port
from test_readme import blocks, read

NEEDS = ("# needs a GPU", "# needs Docker")  # how blocks begin for which this machine lacks something
# Commands that run until they are stopped.
FOREGROUND = ("make api", ".venv/bin/ner-eval api")


def examples(page: str) -> list[tuple[str, str]]:
    """The blocks of a page of ``docs/en`` that run here, with their kind: commands (bash), and Python.

    Both languages have the same.
    """
    found = blocks(read(f"docs/en/{page}"))
    return [(kind, code) for kind, code in found if kind in ("bash", "python") and not code.startswith(NEEDS)]


def commands(page: str) -> list[str]:
    """The blocks of commands of a page."""
    return [code for kind, code in examples(page) if kind == "bash"]


def data_of_the_tutorial() -> list[str]:
    """The blocks of the tutorial before its training."""
    return list(itertools.takewhile(lambda code: not code.startswith("make train"), commands("tutorial.md")))


def copy_of_repository(folder: Path) -> Path:
    """A copy of the repository with everything built, in which corpora may be described."""
    link(folder, "Makefile", "pyproject.toml", "requirements", "recipes", "data/nano")
    shutil.copytree(ROOT / "data/corpora", folder / "data/corpora")
    link_environments(folder)
    return folder


def _shell(code: str) -> list[str]:
    return ["bash", "-euo", "pipefail", "-c", code]


class Reader:
    """Somebody with a copy of the repository, who runs what the pages say on ports of their own."""

    def __init__(self, folder: Path, otherwise: Mapping[str, tuple[int, str]] | None = None) -> None:
        """``otherwise``: words of commands that do not end with 0 here -> their exit code, and what they say."""
        self.folder, self.said = folder, ""
        self._otherwise = otherwise or {}
        self.port, self.api_port = free_port(), free_port()
        self._running = ExitStack()

    def __enter__(self) -> "Reader":
        return self

    def __exit__(self, *_: object) -> None:
        self._running.close()
        self.run("make stop")

    def run(self, block: str, kind: str = "bash") -> None:
        """Run a block: Python as a whole, commands one by one."""
        if kind == "python":
            code = self._on_our_ports(block)
            return self._end([".venv/bin/python", "-c", code], code)
        for line in block.replace("\\\n", " ").splitlines():
            code = self._on_our_ports(line.strip())
            if code.startswith(FOREGROUND):
                self._start(code)
            elif code and not code.startswith("#"):
                self._end(_shell(code), code)

    def _end(self, command: list[str], code: str) -> None:
        """Run something to its end, which has to be the one that is expected of its code."""
        done = subprocess.run(command, cwd=self.folder, env=self._environment(), capture_output=True, text=True)
        said = done.stdout + done.stderr
        status, words = next((ends for part, ends in self._otherwise.items() if part in code), (0, ""))
        assert done.returncode == status and words in said, f"{code}\n{said[-4000:]}"
        self.said += said

    def _on_our_ports(self, code: str) -> str:
        code = code.replace(":8080/", f":{self.api_port}/").replace(":9000/", f":{self.port}/")
        code = code.replace(":8000/", f":{self.port}/")
        code = code.replace("--model NAME", "--model nano-lora-demo")
        if re.match(r"\.venv/bin/ner-eval (extract|predict|calibrate|api)", code) and "--base-url" not in code:
            code += f" --base-url http://127.0.0.1:{self.port}/v1"
        return f"{code} --port {self.api_port}" if code.startswith(".venv/bin/ner-eval api") else code

    def _environment(self) -> dict[str, str]:
        inherited = {name: value for name, value in os.environ.items() if name not in OURS}
        return inherited | {"PORT": str(self.port), "API_PORT": str(self.api_port)}

    def _start(self, code: str) -> None:
        """Start a service, in place of the one that may run."""
        self._running.close()
        process = subprocess.Popen(_shell(code), cwd=self.folder, env=self._environment(), start_new_session=True)
        self._running.callback(process.wait, 60)
        self._running.callback(os.killpg, process.pid, signal.SIGTERM)
        for _ in range(300):
            assert process.poll() is None, code
            try:
                if httpx.get(f"http://127.0.0.1:{self.api_port}/health", trust_env=False).status_code == 200:
                    return
            except httpx.HTTPError:
                time.sleep(0.2)
        pytest.fail(f"{code}: does not listen")
