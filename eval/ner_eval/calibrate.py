"""Calibrate an adapter's scores: ``ner-eval calibrate ADAPTER``.

The served adapter is asked for the records that its training held out. What share of the entities with a score is
right is learned from the answers, and stored beside the adapter as ``ner_calibration.json``; from then on
`ner-eval extract`, `score`, `report` and `Recognizer` calibrate the adapter's scores. A server that reads a copy of
the adapter (``ner-model serve --reloadable``) names the copy's folder, so the file is stored there too.
"""

import argparse
import sys
from dataclasses import dataclass
from math import nan
from pathlib import Path

from ner_common.adapters import is_whole_model, served_name
from ner_common.commands import positive
from ner_common.errors import UserError, rooted
from ner_common.fingerprints import weights_fingerprint
from ner_common.training_record import load_training_record
from ner_data.gold import write_gold
from ner_data.prompt import FILE_NAME, PromptSpec
from ner_eval.arguments import add_connection_arguments, connection
from ner_eval.checkpoints.candidates import check_adapter
from ner_eval.checkpoints.held_out import held_out_records
from ner_eval.confidence.calibration import METHODS, Calibration, save
from ner_eval.confidence.curves import area, calibration_error, curve
from ner_eval.confidence.fitting import fit
from ner_eval.inference.client import Connection, run_async
from ner_eval.inference.request import MODES
from ner_eval.inference.served_model import Served, find_model
from ner_eval.metrics.judged import by_votes, judge
from ner_eval.metrics.loaded_run import LoadedRun, load_run
from ner_eval.predict import predict
from ner_eval.reporting.terminal import table
from ner_eval.runs.manifest import run_folder


@dataclass(frozen=True, slots=True)
class Measure:
    """A measure of confidence on the held-out records.

    Attributes:
        error: its expected calibration error; ``error_after``: that of calibrated scores, by cross-validation (None if
            it cannot be calibrated).
        area: that under its precision-recall curve.
    """

    name: str
    error: float
    error_after: float | None
    area: float


@dataclass(frozen=True, slots=True)
class Calibrated:
    """A calibration, its file, and how measures of confidence compare on the held-out records.

    ``copies``: the file in other folders that the adapter is served from. ``unscored``: see
    `ner_eval.metrics.judged.JudgedRun`.
    """

    calibration: Calibration
    path: Path
    measures: tuple[Measure, ...]
    copies: tuple[Path, ...]
    unscored: int


def calibrate(
    adapter: Path,
    *,
    model: str | None = None,
    run: str | None = None,
    method: str | None = None,
    structured: str = "off",
    samples: int = 0,
    connection: Connection | None = None,
) -> Calibrated:
    """Ask a served adapter for its held-out records, and store beside it what its scores are worth.

    Args:
        adapter: the folder that the training wrote, or that of the model it was merged into.
        model: the name that the server has it under; by default the adapter's own.
        run: folder in ``runs/``, or a path, for the answers: in a run for each state of the weights. By default
            MODEL-calibrate.
        method: isotonic or platt; by default by the number of entities (`ner_eval.confidence.fitting.fit`).
        structured: off, json or grammar, as it will be asked later.
        samples: also ask for this many answers drawn at random, and compare their votes with the scores.
        connection: where the servers are.

    Raises:
        UserError: the held-out records are unknown or have changed; the adapter is not served, or its server has no
            log-probabilities, or none that fit most answers; there are too few entities. Answers are stored as they
            arrive: the same call continues.
    """
    if not is_whole_model(adapter):
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

    def ask(run: Path, draw: int | None) -> LoadedRun:
        predict(
            model, spec.corpus, split="held-out", gold=gold, run=str(run.absolute()), prompt=adapter / FILE_NAME,
            adapter=adapter, structured=structured, confidence=draw is None, draw=draw, connection=connection,
        )  # fmt: skip
        return load_run(run)

    likely = ask(folder, None)
    judged = judge(likely, calibrated=False)
    if judged is None:
        raise UserError(f"{rooted(folder)}: has no scores; remove it and run the same command again")
    _check_scored(likely, judged.unscored)
    known = {"corpus": spec.corpus, "prompt": spec.fingerprint, "weights": weights, "structured": structured}
    calibration = fit(judged.raw, judged.records, method=method, **known)
    found = area(curve(judged.raw, judged.gold))
    measures = [Measure("log-probabilities", calibration.error_before, calibration.error_after, found)]
    if samples:
        drawn = [ask(folder.with_name(f"{folder.name}-drawn-{draw}"), draw) for draw in range(samples)]
        votes = by_votes(likely, drawn)
        try:
            after = fit(votes, judged.records, method=method, **known).error_after
        except UserError:  # votes that do not tell right from wrong; the scores do, or this would not be reached
            after = None
        found = area(curve(votes, judged.gold))
        measures.append(Measure(f"votes of {samples}", calibration_error(votes) or 0.0, after, found))
    path = save(adapter, calibration)
    copies = _save_copies(calibration, adapter, model, connection or Connection())
    return Calibrated(calibration, path, tuple(measures), copies, judged.unscored)


def _check_scored(run: LoadedRun, unscored: int) -> None:
    """Raises:
    UserError: most answers have no scores, so the others may be of another kind (short ones, without emoji).
    """
    named = sum(bool(item.parsed.mentions) for item in run.answered)
    if 2 * unscored > named:
        problem = f"{unscored} of {named} answers with entities have no scores: their tokens do not add up to them"
        remedy = "ask a server whose logprobs have the bytes of every token, such as vLLM, into another --run"
        raise UserError(f"{rooted(run.folder)}: {problem}; {remedy}")


def _save_copies(calibration: Calibration, adapter: Path, model: str, connection: Connection) -> tuple[Path, ...]:
    """Store a calibration where servers read the same weights from: nobody else tells their clients what scores mean.

    If the answers were stored before, there need not be a server any more.
    """

    async def served() -> Served:
        async with connection.client(lambda line: None) as client:
            return await find_model(client, model, wait=0)

    try:
        folders = {folder.resolve(): folder for folder in run_async(served()).folders.values() if folder}
    except UserError:
        return ()
    saved = []
    for path, folder in folders.items():
        try:
            if path != adapter.resolve() and weights_fingerprint(folder) == calibration.weights:
                saved.append(save(folder, calibration))
        except OSError as error:
            raw = "whoever asks without --adapter gets scores that are not calibrated"
            print(f"note: {rooted(folder)}: {error.strerror or error}; {raw}", file=sys.stderr)
    return tuple(saved)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "adapter", type=Path, help="folder of a training, saves/MODEL/METHOD/CORPUS, or of a merged model"
    )
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
    parser.add_argument(
        "--samples",
        type=positive(int),
        default=0,
        metavar="N",
        help="also ask for N answers drawn at random, and compare their votes with the scores",
    )
    add_connection_arguments(parser)


def run(args: argparse.Namespace) -> None:
    named = {name: getattr(args, name) for name in ("model", "run", "method", "structured", "samples")}
    found = calibrate(args.adapter, **named, connection=connection(args))
    made = found.calibration
    right = sum(entity[2] for entity in made.entities)
    print(f"{len(made.entities)} held-out entities, {right} right; method {made.method}")
    if found.unscored:
        print(f"{found.unscored} answers without scores are left out: their tokens do not add up to them")
    rows = [
        (one.name, one.error, nan if one.error_after is None else one.error_after, one.area) for one in found.measures
    ]
    print(table(rows, ["Score", "ECE", "ECE calibrated", "AUPRC"]))
    print(
        "ECE: expected calibration error (calibrated: by cross-validation); AUPRC: area under precision-recall curve"
    )
    print(rooted(found.path))
    for copy in found.copies:
        print(f"{rooted(copy)}, beside the copy that is served")
