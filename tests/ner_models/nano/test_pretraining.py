"""`make nano`: the same command makes the same files, whatever the process."""

import os
import subprocess
from pathlib import Path

import pytest

from support import ROOT, tool

pytestmark = [pytest.mark.train, pytest.mark.slow]

TOKENS = "24000"  # of 7 million: the smallest number that gives every level of the curriculum a batch


def test_pretraining_gives_the_same_bytes_in_every_process(tmp_path: Path) -> None:
    processes = []
    for name, hash_seed in (("one", "1"), ("other", "2")):
        command = [
            tool(".venv-train", "ner-model"),
            "pretrain-nano",
            "--out",
            str(tmp_path / name),
            "--tokens",
            TOKENS,
        ]
        environment = os.environ | {"PYTHONHASHSEED": hash_seed, "OMP_NUM_THREADS": "1"}
        processes.append(subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL))
    assert [process.wait() for process in processes] == [0, 0]
    one, other = ({p.name: p.read_bytes() for p in (tmp_path / name).iterdir()} for name in ("one", "other"))
    assert one == other
    committed = {path.name: path.read_bytes() for path in (ROOT / "data/nano").iterdir() if path.is_file()}
    weights = "model.safetensors"
    assert {name for name in one if one[name] == committed[name]} == one.keys() - {weights}
    assert len(one[weights]) == len(committed[weights])
