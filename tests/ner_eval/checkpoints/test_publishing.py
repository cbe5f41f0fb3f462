"""The best checkpoint in the place of the last: whole or not at all, whenever the process is killed."""

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from ner_common.errors import UserError
from ner_common.files import locked
from ner_common.fingerprints import weights_fingerprint
from ner_common.training_record import Selected, load_training_record
from ner_data.prompt import PromptSpec
from ner_eval.checkpoints.candidates import candidates
from ner_eval.checkpoints.publishing import REPLACED, publish_checkpoint
from support import ROOT
from trained import ADAPTER, contents, write_training, write_weights


def publish(step: int) -> bool:
    record, spec = load_training_record(ADAPTER, ""), PromptSpec.load(ADAPTER / "ner_prompt.json")
    found = candidates(ADAPTER, record, spec)
    best = next(one for one in found if one.step == step)
    selected = Selected(best.name, step, len(found), 0.5, (0.4, 0.6), 10, best.weights, "now")
    return publish_checkpoint(ADAPTER, found, best, selected)


def in_force() -> bool:
    """Whether the folder says which checkpoint it holds, and is right."""
    selected = load_training_record(ADAPTER, "").selected
    return selected is not None and selected.weights == weights_fingerprint(ADAPTER)


def test_weights_configuration_and_encoder_are_replaced_and_nothing_else(workplace: Path) -> None:
    write_training(encoder=True)
    before = contents(ADAPTER)
    assert publish(200) and in_force()
    after = contents(ADAPTER)
    assert all(after[name] == before[f"checkpoint-200/{name}"] for name in REPLACED)
    assert {name for name in after if after[name] != before.get(name)} <= {*REPLACED, "ner_training.json"}
    assert not publish(200) and contents(ADAPTER) == after
    assert publish(300) and {name: contents(ADAPTER)[name] for name in REPLACED} == {
        name: before[name] for name in REPLACED
    }


def test_a_last_state_without_a_checkpoint_is_kept(workplace: Path) -> None:
    write_training()
    write_weights(ADAPTER / "adapter_model.safetensors", 7)
    last = (ADAPTER / "adapter_model.safetensors").read_bytes()
    assert publish(200)
    assert (ADAPTER / "checkpoint-final/adapter_model.safetensors").read_bytes() == last
    record, spec = load_training_record(ADAPTER, ""), PromptSpec.load(ADAPTER / "ner_prompt.json")
    names = [one.name for one in candidates(ADAPTER, record, spec)]
    assert names == ["checkpoint-100", "checkpoint-200", "checkpoint-300", "checkpoint-final"]
    assert not publish(200)


def test_two_at_once_are_refused(workplace: Path) -> None:
    write_training()
    with locked(ADAPTER, "busy"), pytest.raises(UserError, match="another process is replacing this adapter"):
        publish(200)


# Runs `publish(200)` of this file, and is killed before the nth call that flushes, renames or removes a file.
KILLED = """
import importlib.util, os, signal, sys
left = int(sys.argv[1])

def killing(original):
    def counted(*args, **kwargs):
        global left
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        left -= 1
        return original(*args, **kwargs)
    return counted

spec = importlib.util.spec_from_file_location("target", sys.argv[2])
target = importlib.util.module_from_spec(spec)
spec.loader.exec_module(target)
for name in ("replace", "rename", "fsync", "unlink"):
    setattr(os, name, killing(getattr(os, name)))
target.publish(200)
"""


def test_killed_at_any_moment_it_holds_the_last_or_the_best_and_can_be_completed(workplace: Path) -> None:
    path = os.pathsep.join(str(ROOT / name) for name in ("tools", "eval", "tests"))
    environment = {**os.environ, "PYTHONPATH": path}
    killed = 0
    for calls in range(40):
        shutil.rmtree(ADAPTER, ignore_errors=True)
        write_training(encoder=True)
        before = contents(ADAPTER)
        done = subprocess.run(
            [sys.executable, "-c", KILLED, str(calls), __file__], env=environment, capture_output=True
        )
        if done.returncode == 0:
            break
        assert done.returncode == -signal.SIGKILL, done.stderr.decode()
        killed += 1
        now = contents(ADAPTER)
        for name in REPLACED:
            assert now[name] in (before[name], before[f"checkpoint-200/{name}"])
        best = now["adapter_model.safetensors"] == before["checkpoint-200/adapter_model.safetensors"]
        assert best == in_force()
        publish(200)
        after = contents(ADAPTER)
        assert in_force() and after.keys() == before.keys()
        assert all(after[name] == before[f"checkpoint-200/{name}"] for name in REPLACED)
    assert killed >= 6
