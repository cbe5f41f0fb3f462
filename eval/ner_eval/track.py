"""Add a run's scores to where its training was tracked: ``ner-eval track RUN --tracker tensorboard|swanlab|wandb``.

The trackers are in the environment that trains, so this command runs there: ``.venv-train/bin/ner-eval track …``.
"""

import argparse
from collections.abc import Callable, Mapping
from pathlib import Path

from ner_common.adapters import ADAPTER_CONFIG, STATE, is_whole_model
from ner_common.errors import UserError, escaped, one_line, rooted
from ner_common.files import read_object
from ner_common.machine import installed
from ner_common.training_record import FILE_NAME, TrainingRecord, load_training_record
from ner_eval.metrics.counts import macro, micro
from ner_eval.metrics.protocols import TEXT
from ner_eval.metrics.results import SCORES, Scores
from ner_eval.metrics.scores_file import read_scores
from ner_eval.runs.manifest import read_manifest, run_folder


def track(run: str | Path, tracker: str) -> tuple[str, dict[str, float]]:
    """Log the scores of a scored run, at the last step of its model's training.

    Args:
        run: a name in ``runs/``, or a folder.
        tracker: one of `TRACKERS`.

    Returns:
        The tracker's run (an id, or TensorBoard's folder), and what was logged: tag -> value.

    Raises:
        UserError: the tracker is not installed, the run has no scores, or its model was trained without the tracker
            or does not say how long.
    """
    if installed(tracker) is None:
        raise UserError(f"{tracker}: not installed here; run `.venv-train/bin/pip install {tracker}`, and this there")
    folder = run_folder(run)
    manifest, scores = read_manifest(folder), read_scores(folder / SCORES)
    if not manifest.folder or not Path(manifest.folder).is_dir():
        problem = f"the model's folder ({one_line(manifest.folder)}) is not on this machine"
        raise UserError(f"{rooted(folder)}: {problem}; run this where the model was trained")
    adapter = Path(manifest.folder)
    record = load_training_record(adapter, "train again")
    if record.started != (manifest.training or {}).get("started"):
        problem = f"{rooted(adapter)} holds another training now"
        raise UserError(f"{rooted(folder)}: {problem}; ask that one with `make eval` into another run")
    if (there := record.tracked.get(tracker)) is None:
        reports = ", ".join(map(escaped, record.tracked)) or "no tracker"
        problem = f"the training reported to {reports}, not to {tracker}"
        raise UserError(f"{rooted(adapter / FILE_NAME)}: {problem}; train again with TRACK={tracker}")
    step = read_object(adapter / STATE).get("global_step")
    if not isinstance(step, int):
        problem = "does not say at which step the training ended"
        raise UserError(f"{rooted(adapter / STATE)}: {problem}; copy the one in the folder that was trained into")
    values = tagged(scores, None if trained_into(adapter, record) else manifest.model)
    TRACKERS[tracker](there, values, step)
    return there, values


def trained_into(folder: Path, record: TrainingRecord) -> bool:
    """Whether a folder holds what the training itself wrote, not what was merged, quantised or converted from that."""
    whole = record.arguments.get("finetuning_type") in ("full", "freeze")
    as_written = is_whole_model(folder) if whole else (folder / ADAPTER_CONFIG).is_file()
    return as_written and record.quantized is None


def tagged(scores: Scores, model: str | None = None) -> dict[str, float]:
    """F1 of the headline protocol by tag: micro and macro average, and each label with precision and recall.

    Args:
        model: its name, for another model than the one that was trained: both may be scored on the same split.
    """
    by_label = scores.counts(TEXT, "lenient")
    start = f"score-{scores.corpus}-{scores.split}" + (f"-{model.replace('/', '-')}" if model else "")
    values = {f"{start}/micro_f1": micro(by_label).f1, f"{start}/macro_f1": macro(by_label, scores.labels)[2]}
    for label in scores.labels:
        for name in ("f1", "precision", "recall"):
            values[f"{start}-{name}/{label}"] = getattr(by_label[label], name)
    return values


def _tensorboard(there: str, values: Mapping[str, float], step: int) -> None:
    from torch.utils.tensorboard import SummaryWriter

    with SummaryWriter(there) as writer:
        for tag, value in values.items():
            writer.add_scalar(tag, value, step)


def _swanlab(there: str, values: Mapping[str, float], step: int) -> None:
    import swanlab

    with swanlab.init(id=there, resume="must") as run:
        run.log(dict(values), step=step)


def _wandb(there: str, values: Mapping[str, float], step: int) -> None:
    import wandb

    with wandb.init(id=there, resume="must") as run:
        run.log(dict(values), step=step)


TRACKERS: dict[str, Callable[[str, Mapping[str, float], int], None]] = {
    "tensorboard": _tensorboard,
    "swanlab": _swanlab,
    "wandb": _wandb,
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", help="a name in runs/, or a folder")
    parser.add_argument("--tracker", choices=TRACKERS, required=True, help="what the training reported to")


def run(args: argparse.Namespace) -> None:
    there, values = track(args.run, args.tracker)
    print(f"{args.tracker}: {len(values)} scores added to {there}")
