"""`make demo` stops its server whatever happens: Ctrl-C while vLLM starts or answers, a failing stage."""

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

from make_support import link, link_environments
from support import assert_free, free_port

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A copy of the repository with everything built."""
    link(tmp_path, "Makefile", "pyproject.toml", "requirements", "recipes", "data/corpora", "data/nano")
    link_environments(tmp_path)
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
        # Its own process group, as in a terminal: Ctrl-C reaches make and everything it started.
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
