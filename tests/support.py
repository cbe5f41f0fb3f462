"""Shared by all tests: paths, programs of the environments, and checks of how a program ended."""

import os
import socket
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
SHARED = ROOT.parent / "shared"


class Result(NamedTuple):
    """What a program left behind: exit code, standard output, standard error."""

    code: int
    out: str
    err: str


def one_line_error(result: Result) -> str:
    """Check that a program ended properly on a user's mistake, and return its message."""
    assert result.code == 2, result
    assert "Traceback" not in result.err
    lines = result.err.strip().split("\n")
    assert len(lines) == 1, result.err
    return lines[0]


@dataclass(frozen=True)
class Served:
    """The test server: ``base_url`` ends in /v1; ``models`` are the names it serves, base model first."""

    base_url: str
    models: list[str]
    port: int
    folder: Path


def free_port() -> int:
    """A port of this machine that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def assert_free(port: int) -> None:
    """Check that nobody listens on a port (connections that are still being closed do not matter)."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind(("127.0.0.1", port))


def tool(environment: str, name: str) -> str:
    """A program of one of the environments; the tests that need it run after `make` has built them."""
    path = ROOT / environment / "bin" / name
    assert path.is_file(), f"{path}: missing; run the tests with `make test`"
    return str(path)


def with_extras() -> dict[str, str]:
    """The variables of a process that finds the packages of requirements/train-extras.txt before .venv-train's."""
    folder = ROOT / ".train-extras"
    assert (folder / ".ready").is_file(), f"{folder}: missing; run the tests with `make test-all`"
    before = {"PYTHONPATH": str(folder), "PATH": str(folder / "bin")}  # DeepSpeed calls ninja
    return os.environ | {name: f"{path}{os.pathsep}{os.environ.get(name, path)}" for name, path in before.items()}


def train(folder: Path, output: Path, *overrides: str, recipe: str = "lora") -> str:
    """Train nano by a recipe of its own with the stock llamafactory-cli; returns what it printed."""
    command = [tool(".venv-train", "llamafactory-cli"), "train", f"recipes/nano/{recipe}.yaml", f"output_dir={output}"]
    environment = {**os.environ, "AUTOWRAPT_BOOTSTRAP": "llamafactory_ner"}
    done = subprocess.run(
        [*command, *overrides],
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert done.returncode == 0, done.stdout[-4000:]
    return done.stdout
