"""Edited state files: refused or forgotten in one line, and no process that is not ours is ended."""

import json
import os
import random
from pathlib import Path
from typing import Any

import pytest

from ner_common.errors import UserError
from ner_models.serving import identity
from ner_models.serving import process as server
from ner_models.serving.state import STATE, state_file
from ner_models.serving.stop import stop
from serving_support import write_state


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "STOP_S", 1.0)


ODD = [
    None,
    True,
    False,
    0,
    1,
    -1,
    2,
    2**22,
    2**31,
    2**63,
    10**400,
    1.5,
    "",
    "x",
    "1",
    "\x1b[2J\n",
    [],
    [1],
    ["x"],
    {},
]
ODD += [["a", None], "vllm" * 100, {"pid": 1}]


def mutated_state(rng: random.Random, state: dict[str, Any], numbers: list[int]) -> bytes:
    """A state file after one to three edits, or with broken bytes."""
    changed = dict(state)
    for _ in range(rng.randrange(1, 4)):
        key = rng.choice([*state, "extra"])
        if rng.random() < 0.2:
            changed.pop(key, None)
        else:
            changed[key] = rng.choice(numbers if key == "pid" and rng.random() < 0.7 else ODD)
    data = bytearray(json.dumps(changed).encode())
    if rng.random() < 0.2:
        del data[rng.randrange(len(data)) :]
    elif rng.random() < 0.2:
        data[rng.randrange(len(data))] = rng.randrange(256)
    return bytes(data)


def attack_states(stranger: int, port: int, count: int) -> None:
    rng = random.Random(count)
    state = {"pid": 2**22 + 1, "host": "127.0.0.1", "port": port, "models": ["x"], "command": ["vllm", "serve"]}
    state |= {"started": 1, "boot": identity.boot(), "mark": "0" * 32, "stopping": False}
    numbers = [1, os.getpid(), os.getppid(), stranger, -1, -stranger, 0, 2**22 + 1, 2**64]
    STATE.mkdir()
    refused = 0
    for _ in range(count):
        state_file(port).write_bytes(mutated_state(rng, state, numbers))
        for act in (stop, lambda number: server.require_free("127.0.0.1", number)):
            try:
                assert act(port) is None
            except UserError as error:
                refused += 1
                assert "\n" not in str(error) and str(error).startswith(f".serve/{port}.json")
        state_file(port).unlink(missing_ok=True)
    assert refused > count / 2
    assert identity.find(stranger) and identity.find(os.getppid())


def test_no_edited_state_file_ends_a_process(stranger, port: int) -> None:
    attack_states(stranger.pid, port, 200)


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_no_edited_state_file_of_many_ends_a_process(stranger, port: int) -> None:
    attack_states(stranger.pid, port, 4000)


def test_a_state_of_another_port_is_refused(port: int, workplace: Path) -> None:
    write_state(port, port=port - 1, pid=2**22 + 1, command=["vllm"])
    with pytest.raises(UserError, match=f"port: {port - 1} is not {port}"):
        stop(port)
