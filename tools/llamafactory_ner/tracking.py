"""The trackers that a training reports to (``report_to``): their runs begin early, and are noted in the record.

transformers' callbacks report; what is here fills two gaps. SwanLab's run begins before the model is loaded, because
transformers 5.6 asks for a run in a way that swanlab 0.10 answers with an error, and so that a missing login is said
at once. And the runs get noted, so that scores can be added to them.
"""

import os
from collections.abc import Collection
from importlib import import_module
from pathlib import Path
from typing import Any

from llamafactory_ner.checks.refusal import stop
from ner_common.errors import escaped


def begin_runs(training_args: Any) -> None:
    """Begin SwanLab's run in the first process, if the training reports there."""
    if "swanlab" not in training_args.report_to or training_args.process_index:
        return
    try:
        import_module("swanlab").init(name=Path(training_args.output_dir).name)
    except Exception as error:  # no login, no network, a service that refuses: all before anything was loaded
        remedy = "run `.venv-train/bin/swanlab login`, or set SWANLAB_MODE=offline"
        stop(f"report_to: swanlab: {escaped(str(error), 300)}; {remedy}")


def tracked_runs(folder: Path, trackers: Collection[str]) -> dict[str, str]:
    """The runs that have just begun for a training into ``folder``: tracker -> an id, or TensorBoard's folder."""
    runs: dict[str, str] = {}
    if "tensorboard" in trackers:
        own = max((folder / "runs").glob("*/"), key=lambda path: path.stat().st_mtime, default=folder)
        runs["tensorboard"] = os.environ.get("TENSORBOARD_LOGGING_DIR") or str(own)
    if "swanlab" in trackers:
        runs["swanlab"] = str(import_module("swanlab").get_run().id)
    if "wandb" in trackers:
        runs["wandb"] = str(import_module("wandb").run.id)
    return runs
