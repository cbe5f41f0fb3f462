"""Calibrate an adapter's scores: ``ner-eval calibrate ADAPTER``.

The served adapter is asked for the records that its training held out. What share of the entities with a score is
right is learned from the answers, and stored beside the adapter as ``ner_calibration.json``; from then on
`ner-eval extract`, `score`, `report` and `Recognizer` calibrate the adapter's scores.
"""

import argparse
from dataclasses import dataclass
from pathlib import Path

from ner_common.adapters import served_name
from ner_common.errors import UserError, rooted
from ner_common.fingerprints import weights_fingerprint
from ner_common.training_record import load_training_record
from ner_data.gold import write_gold
from ner_data.prompt import FILE_NAME, PromptSpec
from ner_eval.arguments import add_connection_arguments, connection
from ner_eval.checkpoints.candidates import check_adapter
from ner_eval.checkpoints.held_out import held_out_records
from ner_eval.confidence.calibration import METHODS, Calibration, save
from ner_eval.confidence.curves import area, curve
from ner_eval.confidence.fitting import fit
from ner_eval.inference.client import Connection
from ner_eval.inference.request import MODES
from ner_eval.metrics.judged import judge
from ner_eval.metrics.loaded_run import load_run
from ner_eval.predict import predict
from ner_eval.runs.manifest import run_folder


@dataclass(frozen=True, slots=True)
class Calibrated:
    """A calibration, its file, the run that it was learned from, and its area under the precision-recall curve."""

    calibration: Calibration
    path: Path
    run: Path
    area: float


def calibrate(
    adapter: Path,
    *,
    model: str | None = None,
    run: str | None = None,
    method: str | None = None,
    structured: str = "off",
    connection: Connection | None = None,
) -> Calibrated:
    """Ask a served adapter for its held-out records, and store beside it what its scores are worth.

    Args:
        adapter: the folder that the training wrote.
        model: the name that the server has it under; by default the adapter's own.
        run: folder in ``runs/``, or a path, for the answers: in a run for each state of the weights. By default
            MODEL-calibrate.
        method: isotonic or platt; by default by the number of entities (`ner_eval.confidence.fitting.fit`).
        structured: off, json or grammar, as it will be asked later.
        connection: where the servers are.

    Raises:
        UserError: the held-out records are unknown or have changed; the adapter is not served, or its server has no
            log-probabilities; there are too few entities. Answers are stored as they arrive: the same call continues.
    """
    check_adapter(adapter)
    record = load_training_record(adapter, "train it again: an earlier version did not record what is needed")
    spec = PromptSpec.load(adapter / FILE_NAME, "train it again with a corpus of `make data`")
    weights = weights_fingerprint(adapter)
    if weights is None:
        raise UserError(f"{rooted(adapter)}: has no weights (*.safetensors); name the folder that a training wrote")
    model = model or served_name(adapter)
    form = "" if structured == "off" else f"-{structured}"
    folder = run_folder(run or f"{model.strip('/').replace('/', '_')}-calibrate") / f"{weights[:8]}{form}"
    gold = folder.with_name(f"{weights[:8]}-held-out.jsonl")
    write_gold(gold, held_out_records(adapter, record, spec))
    predict(
        model, spec.corpus, split="held-out", gold=gold, run=str(folder.absolute()), prompt=adapter / FILE_NAME,
        adapter=adapter, structured=structured, confidence=True, connection=connection,
    )  # fmt: skip
    judged = judge(load_run(folder), calibrated=False)
    if judged is None:
        raise UserError(f"{rooted(folder)}: has no scores; remove it and run the same command again")
    calibration = fit(
        judged.raw, judged.records, method=method, corpus=spec.corpus, prompt=spec.fingerprint, weights=weights,
        structured=structured,
    )  # fmt: skip
    found = area(curve(judged.raw, judged.gold))
    return Calibrated(calibration, save(adapter, calibration), folder, found)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("adapter", type=Path, help="the folder that a training wrote: saves/MODEL/METHOD/CORPUS")
    parser.add_argument(
        "--model",
        metavar="NAME",
        help="name of the adapter, as the server lists it (default: from the folder, such as nano-lora-demo)",
    )
    parser.add_argument("--run", metavar="NAME", help="folder in runs/ for the answers (default: NAME-calibrate)")
    parser.add_argument(
        "--method",
        choices=METHODS,
        help="how to calibrate (default: isotonic from 1,000 entities on, else platt)",
    )
    parser.add_argument(
        "--structured",
        choices=MODES,
        default="off",
        help="ask as `ner-eval extract` will be asked to (default: %(default)s)",
    )
    add_connection_arguments(parser)


def run(args: argparse.Namespace) -> None:
    named = {name: getattr(args, name) for name in ("model", "run", "method", "structured")}
    found = calibrate(args.adapter, **named, connection=connection(args))
    made = found.calibration
    right = sum(entity[2] for entity in made.entities)
    print(f"{len(made.entities)} held-out entities, {right} right; method {made.method}")
    errors = f"{made.error_before:.4f} before, {made.error_after:.4f} after (cross-validated)"
    print(f"expected calibration error: {errors}")
    print(f"area under the precision-recall curve: {found.area:.4f}")
    print(rooted(found.path))
