"""Choose the best checkpoint of a training: ``ner-eval select ADAPTER``.

Every checkpoint is asked for the records that the training held out, and scored with the text protocol. The best one
takes the place of the last in the adapter's folder. ``runs/NAME-select/`` gets a run for each checkpoint, so nothing
is asked twice, ``held-out.jsonl`` with the records, and what `ner_eval.reporting.selection` writes.
"""

import argparse
import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from ner_common.adapters import ADAPTER_CONFIG, served_name
from ner_common.errors import UserError, rooted
from ner_common.training_record import Selected, load_training_record, now
from ner_data.gold import Record, write_gold
from ner_data.prompt import FILE_NAME, PromptSpec
from ner_eval.arguments import add_connection_arguments, connection
from ner_eval.checkpoints.candidates import Candidate, candidates, check_adapter
from ner_eval.checkpoints.held_out import held_out_records
from ner_eval.checkpoints.publishing import publish_checkpoint
from ner_eval.checkpoints.selection import READING, Judged, Selection
from ner_eval.inference.asking import progress
from ner_eval.inference.client import Connection, run_async
from ner_eval.inference.served_model import find_model
from ner_eval.metrics.comparison import compare_loaded
from ner_eval.metrics.loaded_run import load_run
from ner_eval.metrics.protocols import TEXT
from ner_eval.predict import predict
from ner_eval.reporting import selection as selection_report
from ner_eval.runs.manifest import MANIFEST, run_folder
from ner_eval.runs.predictions import stored

HELD_OUT = "held-out.jsonl"


@dataclass(frozen=True, slots=True)
class _Work:
    """What is to be asked: the adapter's states under their served names, and its held-out records."""

    adapter: Path
    spec: PromptSpec
    folder: Path
    records: list[Record]
    candidates: dict[str, Candidate]

    def run(self, candidate: Candidate) -> Path:
        return self.folder / f"{candidate.name.removeprefix('checkpoint-')}-{candidate.weights[:8]}"

    def unasked(self, retry_refused: bool) -> dict[str, Candidate]:
        """The states that some answers are missing of."""
        ids = [record.id for record in self.records]

        def complete(folder: Path) -> bool:
            kept = stored(folder, ids) if (folder / MANIFEST).is_file() else {}
            return len(kept) == len(ids) and not (retry_refused and any(one.error for one in kept.values()))

        return {name: one for name, one in self.candidates.items() if not complete(self.run(one))}


def select(
    adapter: Path,
    *,
    model: str | None = None,
    run: str | None = None,
    keep: bool = False,
    retry_refused: bool = False,
    connection: Connection | None = None,
) -> Selection:
    """Ask all checkpoints of a training for its held-out records, and put the best in the place of the last.

    Args:
        adapter: the folder that the training wrote.
        model: the server has each checkpoint as MODEL@STEP; by default the adapter's own served name.
        run: folder in ``runs/``, or a path; by default MODEL-select.
        keep: leave the adapter as it is.
        retry_refused: ask again for the records that the server refused.
        connection: where the servers are.

    Raises:
        UserError: there are not two checkpoints, or one is of another training; the held-out records are unknown or
            have changed; a checkpoint is not served. Answers are stored as they arrive: the same call continues.
    """
    work = _prepare(adapter, model, run)
    servers = connection or Connection()
    if unasked := work.unasked(retry_refused):
        run_async(_check_served(servers, unasked, adapter))
    gold = work.folder / HELD_OUT
    write_gold(gold, work.records)
    with progress(len(work.records) * len(work.candidates)) as bar:
        for name, candidate in work.candidates.items():
            bar.set_description(candidate.name)
            predict(
                name, work.spec.corpus, split="held-out", gold=gold, run=str(work.run(candidate).absolute()),
                prompt=adapter / FILE_NAME, adapter=candidate.folder, retry_refused=retry_refused,
                connection=servers, bar=bar,
            )  # fmt: skip
    selection = _judge(work)
    selection_report.write(selection)
    best = selection.best
    if keep or selection.refused or not best.counts.tp:
        return selection
    selected = Selected(
        best.candidate.name, best.candidate.step, len(selection.judged), best.counts.f1, best.interval,
        selection.records, best.candidate.weights, now(),
    )  # fmt: skip
    changed = publish_checkpoint(adapter, list(work.candidates.values()), best.candidate, selected)
    return replace(selection, changed=changed)


def to_serve(
    adapter: Path, *, model: str | None = None, run: str | None = None, retry_refused: bool = False
) -> list[str]:
    """The words ``NAME=DIR`` for `ner-model serve`: the checkpoints that still have to be asked.

    Raises:
        UserError: see `select`.
    """
    work = _prepare(adapter, model, run)
    return [f"{name}={candidate.folder}" for name, candidate in work.unasked(retry_refused).items()]


def _prepare(adapter: Path, model: str | None, run: str | None) -> _Work:
    check_adapter(adapter)
    record = load_training_record(adapter, "train it again: an earlier version did not record what is needed")
    spec = PromptSpec.load(adapter / FILE_NAME, "train it again with a corpus of `make data`")
    found = candidates(adapter, record, spec)
    records = held_out_records(adapter, record, spec)
    model = model or served_name(adapter)
    folder = run_folder(run or f"{model.strip('/').replace('/', '_')}-select")
    return _Work(adapter, spec, folder, records, {one.served_as(model): one for one in found})


async def _check_served(servers: Connection, wanted: Mapping[str, Candidate], adapter: Path) -> None:
    """Raise UserError if a server does not answer, lacks a checkpoint, or has another folder under its name."""
    remedy = f"`make select` serves all checkpoints; or: ner-model serve $(ner-eval select {rooted(adapter)} --list)"
    async with servers.client() as client:
        for name, candidate in wanted.items():
            try:
                served = await find_model(client, name, servers.wait)
            except UserError as error:
                raise UserError(f"{error}; {remedy}") from None
            folder = served.folder
            if folder and (folder / ADAPTER_CONFIG).is_file() and folder.resolve() != candidate.folder.resolve():
                problem = f"the server has {rooted(folder)} as {name}, not {rooted(candidate.folder)}"
                raise UserError(f"{problem}; stop it; {remedy}")


def _judge(work: _Work) -> Selection:
    """Score all runs, each against the last state, and find the best; of equal ones, the earliest."""
    found = list(work.candidates.values())
    loaded = [load_run(work.run(candidate)) for candidate in reversed(found)]
    scored = reversed(compare_loaded(loaded, TEXT, READING).runs)
    judged = tuple(Judged(one, work.run(one), scores) for one, scores in zip(found, scored, strict=True))
    best = max(judged, key=lambda one: one.counts.f1)
    return Selection(work.adapter, work.spec.corpus, work.folder, len(work.records), judged, best)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("adapter", type=Path, help="the folder that a training wrote: saves/MODEL/METHOD/CORPUS")
    parser.add_argument(
        "--model",
        metavar="NAME",
        help="the server has each checkpoint as NAME@STEP (default: from the folder, such as nano-lora-demo)",
    )
    parser.add_argument("--run", metavar="NAME", help="folder in runs/ for everything (default: NAME-select)")
    shown = parser.add_mutually_exclusive_group()
    shown.add_argument("--keep", action="store_true", help="only show which is best, and leave the adapter as it is")
    shown.add_argument(
        "--list",
        action="store_true",
        help="ask nothing, and print the checkpoints that have to be served, as NAME=DIR for `ner-model serve`",
    )
    add_connection_arguments(parser)
    parser.add_argument(
        "--retry-refused", action="store_true", help="ask again for the records that the server refused"
    )


def run(args: argparse.Namespace) -> int:
    named = {name: getattr(args, name) for name in ("model", "run", "retry_refused")}
    if args.list:
        for word in to_serve(args.adapter, **named):
            print(word)
        return 0
    selection = select(args.adapter, **named, keep=args.keep, connection=connection(args))
    for line in selection_report.describe(selection):
        print(line)
    if not selection.refused:
        return 0
    problem = f"the server refused {selection.refused} records, so the checkpoints cannot be compared fairly"
    print(f"ner-eval: {problem}; the adapter stays as it is; ask again with --retry-refused", file=sys.stderr)
    return 1
