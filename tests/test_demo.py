"""`make demo` ends its server whatever happens: Ctrl-C while vLLM starts, Ctrl-C while it is asked, a failing stage."""

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

from support import ROOT, assert_free, free_port, tool

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A tree in which make finds everything built: the environments' programs are links, their marks are new."""
    for name in ("Makefile", "pyproject.toml", "requirements", "recipes", "data/corpora", "data/nano"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).symlink_to(ROOT / name)
    for environment in (".venv", ".venv-train", ".venv-serve"):
        tool(environment, "python")
        (tmp_path / environment).mkdir()
        for name in ("bin", "lib", "pyvenv.cfg"):
            (tmp_path / environment / name).symlink_to(ROOT / environment / name)
        (tmp_path / environment / ".locked").touch()
        (tmp_path / environment / ".ready").touch()
    return tmp_path


@pytest.mark.parametrize(
    ("moment", "options", "code"),
    [
        (".serve/PORT.json", [], -signal.SIGINT),
        ("runs/nano-demo-test/predictions.jsonl", [], -signal.SIGINT),
        (None, ["SPLIT=nosuch"], 2),
    ],
    ids=["Ctrl-C while it starts", "Ctrl-C while it is asked", "a stage fails"],
)
def test_the_server_of_make_demo_never_outlives_it(
    copy: Path, moment: str | None, options: list[str], code: int
) -> None:
    """`moment` is a file that is there from then on."""
    port, log = free_port(), copy / "log"
    command = ["make", "run-demo", "MODEL=nano", "CORPUS=demo", f"PORT={port}", "ARGS=max_steps=1", *options]
    with log.open("wb") as output:
        # A group of its own, as a terminal makes one: Ctrl-C reaches make and all that it started.
        process = subprocess.Popen(command, cwd=copy, stdout=output, stderr=output, start_new_session=True)
    try:
        while moment and not (copy / moment.replace("PORT", str(port))).exists() and process.poll() is None:
            time.sleep(0.2)
        if moment:
            os.killpg(process.pid, signal.SIGINT)
        process.wait()
    except BaseException:
        os.killpg(process.pid, signal.SIGKILL)
        raise
    said = log.read_text(encoding="utf-8")
    assert process.returncode == code, said[-3000:]
    assert "starting vLLM" in said, said[-3000:]
    assert not (copy / f".serve/{port}.json").exists(), said[-3000:]
    assert_free(port)
