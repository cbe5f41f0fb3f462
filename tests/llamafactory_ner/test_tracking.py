"""Trackers: TensorBoard and, offline, SwanLab for real through both trainers; scores in the same run."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from msgspec.structs import replace

from ner_common.errors import UserError
from ner_eval.runs.manifest import read_manifest, write_manifest
from ner_eval.track import track
from support import ROOT, Result, one_line_error, with_extras

pytestmark = pytest.mark.train
PREVIOUS = ROOT / "tests/previous"
OURS = "from {}.cli import entry_point; entry_point()"


def logged(folder: Path) -> dict[str, dict[int, float]]:
    """The scalars of TensorBoard's event files: tag -> step -> value."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder)).Reload()
    return {tag: {event.step: event.value for event in events.Scalars(tag)} for tag in events.Tags()["scalars"]}


def run_of(adapter: Path, folder: Path) -> Path:
    """A scored run whose model is the one in a folder."""
    shutil.copytree(PREVIOUS / "run", folder)
    manifest = read_manifest(folder)
    record = json.loads((adapter / "ner_training.json").read_text())
    (folder / "manifest.json").unlink()
    write_manifest(folder, replace(manifest, folder=str(adapter), training=record))
    return folder


def train(kind: str, recipe: dict[str, Any], folder: Path, **environment: str) -> Result:
    """Train in a process of its own, by llamafactory or without it."""
    import yaml

    path = folder / "recipe.yaml"
    path.write_text(yaml.safe_dump(recipe))
    code = "from llamafactory.cli import main; main()" if kind == "lora" else OURS.format("ner_models")
    return run(code, folder, "train", path, **environment)


def run(code: str, folder: Path, *words: object, **environment: str) -> Result:
    command = [sys.executable, "-c", code, *map(str, words)]
    variables = os.environ | {"AUTOWRAPT_BOOTSTRAP": "llamafactory_ner", **environment}
    done = subprocess.run(command, cwd=folder, env=variables, capture_output=True, text=True)
    return Result(done.returncode, done.stdout, done.stderr)


@pytest.fixture
def tracked(recipe, tmp_path: Path):
    """The recipe of a training of three steps that reports to a tracker."""

    def build(kind: str, tracker: str, **overrides: object) -> dict[str, Any]:
        ours = dict.fromkeys(("stage", "do_train", "disable_tqdm", "overwrite_cache"))
        ours |= {"model_name_or_path": str(ROOT / "data/nano")}  # which has a chat template
        extra = ours if kind == "peft_lora" else {}
        return recipe(
            finetuning_type=kind, num_virtual_tokens=None, max_steps=3, report_to=tracker, **extra, **overrides
        )

    return build


@pytest.mark.parametrize("kind", ["lora", "peft_lora"])
def test_tensorboard_has_the_losses_and_then_the_scores(kind, tracked, tmp_path: Path) -> None:
    done = train(kind, tracked(kind, "tensorboard"), tmp_path)
    assert done.code == 0, done.err[-3000:]
    out = tmp_path / "out"
    there = Path(json.loads((out / "ner_training.json").read_text())["tracked"]["tensorboard"])
    history = json.loads((out / "trainer_state.json").read_text())["log_history"]
    losses = {entry["step"]: entry["loss"] for entry in history if "loss" in entry}
    assert len(losses) == 3
    assert logged(there)["train/loss"] == pytest.approx(losses)

    _, values = track(run_of(out, tmp_path / "run"), "tensorboard")
    scalars = logged(there)
    assert scalars["train/loss"] == pytest.approx(losses)
    assert values["score-demo-test/micro_f1"] == pytest.approx(0.7907, abs=1e-4)
    assert len(values) == 2 + 3 * 10
    for tag, value in values.items():
        assert scalars[tag] == {3: pytest.approx(value)}


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["lora", "peft_lora"])
def test_swanlab_offline_has_the_losses_and_the_scores_in_one_run(kind, tracked, tmp_path: Path) -> None:
    offline = with_extras() | {"SWANLAB_MODE": "offline"}
    done = train(kind, tracked(kind, "swanlab"), tmp_path, **offline)
    assert done.code == 0, done.err[-3000:]
    there = json.loads((tmp_path / "out/ner_training.json").read_text())["tracked"]["swanlab"]
    scored = run_of(tmp_path / "out", tmp_path / "run")
    done = run(OURS.format("ner_eval"), tmp_path, "track", scored, "--tracker", "swanlab", **offline)
    assert done.code == 0, done.err[-3000:]
    assert f"swanlab: 32 scores added to {there}\n" in done.out
    folders = sorted((tmp_path / "swanlog").glob(f"run-*{there}"))
    assert len(folders) == 2  # offline, what is added later lies in a folder of its own, under the same id
    written = [b"".join(path.read_bytes() for path in folder.rglob("*") if path.is_file()) for folder in folders]
    assert b"train/loss" in written[0] and b"score-demo-test/micro_f1" in written[1]


@pytest.mark.parametrize("kind", ["lora", "peft_lora"])
def test_a_tracker_that_is_not_installed_is_refused_before_the_model_loads(kind, tracked, tmp_path: Path) -> None:
    recipe = tracked(kind, "wandb")
    model = tmp_path / "model"  # without weights: loading would fail
    model.mkdir()
    shutil.copy(Path(recipe["model_name_or_path"]) / "config.json", model)
    done = train(kind, recipe | {"model_name_or_path": str(model)}, tmp_path)
    assert done.code == 2 and not (tmp_path / "out").exists()
    (line,) = [line for line in done.err.splitlines() if line.startswith("llamafactory_ner: ")]
    assert "wandb is not installed here; run `.venv-train/bin/pip install wandb`" in line


def test_an_unknown_tracker_is_refused(refused) -> None:
    assert "report_to: tensorbord: no tracker; choose tensorboard, swanlab, wandb or none" in refused(
        report_to="tensorbord", finetuning_type="lora", num_virtual_tokens=None
    )


@pytest.mark.slow
def test_swanlab_without_a_login_is_refused_before_the_model_loads(tracked, tmp_path: Path) -> None:
    online = with_extras() | {"HOME": str(tmp_path), "SWANLAB_MODE": "online"}
    done = train("peft_lora", tracked("peft_lora", "swanlab"), tmp_path, **online)
    assert done.code == 2
    assert "set SWANLAB_MODE=offline" in done.err.splitlines()[-1]


WRITTEN: dict[str, Any] = {
    "started": "2026-11-29T00:00:00+00:00", "recipe": None, "base_model": None, "arguments": {}, "hardware": "",
    "versions": {},
}  # fmt: skip
MADE = {"scheme": "int8", "group": 0, "samples": 0, "bytes": 1, "bytes_before": 2, "at": ""}


@pytest.mark.parametrize(
    ("kind", "name", "record", "own"),
    [
        ("lora", "adapter_config.json", {}, True),
        ("lora", "config.json", {}, False),  # merged
        ("lora", "model.gguf", {}, False),
        ("full", "config.json", {}, True),
        ("full", "config.json", {"quantized": MADE}, False),
    ],
)
def test_what_was_made_of_the_model_gets_tags_of_its_own_at_the_last_step(
    kind: str, name: str, record: dict[str, Any], own: bool, tmp_path: Path
) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / name).write_text("{}")
    told = {"arguments": {"finetuning_type": kind}, "tracked": {"tensorboard": str(tmp_path / "there")}}
    (folder / "ner_training.json").write_text(json.dumps(WRITTEN | told | record))
    run = run_of(folder, tmp_path / "run")
    with pytest.raises(UserError, match=r"model/trainer_state.json: does not say at which step the training ended"):
        track(run, "tensorboard")
    (folder / "trainer_state.json").write_text('{"global_step": 7}')
    track(run, "tensorboard")
    model = read_manifest(run).model
    start = "score-demo-test" if own else f"score-demo-test-{model}"
    scalars = logged(tmp_path / "there")
    assert scalars[f"{start}/micro_f1"] == {7: pytest.approx(0.7907, abs=1e-4)}
    assert all(tag.startswith((f"{start}/", f"{start}-f1/", f"{start}-pre", f"{start}-rec")) for tag in scalars)


def test_a_merged_model_gets_the_records_of_its_adapter(tmp_path: Path, run_exp: object) -> None:
    """llamafactory's own part of the export, which writes the weights, is left out."""
    from llamafactory_ner.tuner import _with_records

    names = ("ner_prompt.json", "ner_training.json", "ner_held_out.json", "trainer_state.json")
    for folder in ("adapter", "merged"):
        (tmp_path / folder).mkdir()
    for name in (*names, "ner_calibration.json"):
        (tmp_path / "adapter" / name).write_text(name)
    export = _with_records(SimpleNamespace(export_model=lambda args: None))
    export({"adapter_name_or_path": str(tmp_path / "adapter"), "export_dir": str(tmp_path / "merged")})
    assert {path.name: path.read_text() for path in (tmp_path / "merged").iterdir()} == {name: name for name in names}


@pytest.mark.parametrize(
    ("record", "said"),
    [
        ({}, "the training reported to no tracker, not to tensorboard; train again with TRACK=tensorboard"),
        ({"tracked": {"wandb": "x"}}, "reported to wandb, not to tensorboard; train again with TRACK=tensorboard"),
        ({"started": "2026-01-01T00:00:00+00:00"}, "holds another training now; ask that one with `make eval`"),
    ],
)
def test_scores_are_only_added_to_the_run_of_their_training(record, said, tmp_path: Path, cli) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out/ner_training.json").write_text(json.dumps(WRITTEN))
    run = run_of(tmp_path / "out", tmp_path / "run")
    (tmp_path / "out/ner_training.json").write_text(json.dumps(WRITTEN | record))
    assert said in one_line_error(cli("ner-eval", "track", run, "--tracker", "tensorboard"))


def test_a_run_without_its_model_has_nothing_to_be_tracked_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cli
) -> None:
    monkeypatch.chdir(tmp_path)  # here, `make demo` may have left an adapter of that name
    shutil.copytree(PREVIOUS / "run", tmp_path / "run")
    error = one_line_error(cli("ner-eval", "track", tmp_path / "run", "--tracker", "tensorboard"))
    assert "is not on this machine; run this where the model was trained" in error
