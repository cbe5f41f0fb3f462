"""A run loaded for scoring: its answers with their gold, parsed and aligned."""

import gc
import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ner_common.errors import UserError, escaped, one_line, rooted
from ner_data.alignment import Span, align
from ner_data.gold import Parsed, Record, read_gold
from ner_eval.confidence.tokens import Token
from ner_eval.runs.manifest import Manifest, read_manifest, run_folder, select
from ner_eval.runs.predictions import PREDICTIONS, REFUSED, Prediction, read_predictions


@dataclass(frozen=True, slots=True)
class Answered:
    """A record with gold, its answer, the mentions in it and their spans (None: the surface is not in the text).

    ``error``: the server's words if it refused the record (so there are no mentions, and its gold is missed), else "".
    ``tokens``: those of the answer, if the run asked for them.
    """

    record: Record
    answer: str
    parsed: Parsed
    spans: tuple[Span | None, ...]
    cut: bool
    error: str = ""
    tokens: tuple[Token, ...] = ()


@dataclass(frozen=True, slots=True)
class LoadedRun:
    """A run ready to be scored, in gold order.

    Attributes:
        labels: those the model was asked for, then (if allowed) those that only gold has.
        missing: number of records with gold that have no answer.
        without_gold: number of records without gold.
    """

    folder: Path
    manifest: Manifest
    labels: tuple[str, ...]
    answered: tuple[Answered, ...]
    missing: int
    without_gold: int

    @property
    def name(self) -> str:
        return self.folder.name


@contextmanager
def _without_collector() -> Iterator[None]:
    """Millions of objects are created here and all of them stay: the garbage collector would scan them for nothing.

    Nor does it scan them later: they are frozen, and freed by reference counting alone.
    """
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.freeze()
            gc.enable()


@_without_collector()
def load_run(
    name: str | Path, *, gold: Path | None = None, partial: bool = False, allow_other_labels: bool = False
) -> LoadedRun:
    """Read a run with its gold.

    Args:
        name: a name in ``runs/``, or a folder.
        gold: the gold file, if it has moved since the run.
        partial: load the answered records even if others have no answer yet.
        allow_other_labels: load even if gold has labels that the model was not asked for (they count as missed).

    Raises:
        UserError: a file is missing or malformed; the gold file is not the run's, or has no entities; there are
            predictions for unknown records, records without an answer, or labels that were not asked for.
    """
    folder = run_folder(name)
    manifest, records, predictions = read_run(folder, gold)
    scored = [record for record in records if record.entities is not None]
    if not scored:
        where = rooted(gold or Path(manifest.gold))
        raise UserError(f"{where}: no record has gold entities; this split can be predicted but not scored")
    answered = tuple(answer(record, predictions[record.id], manifest) for record in scored if record.id in predictions)
    missing = len(scored) - len(answered)
    if not answered or (missing and not partial):
        remedy = "run the same `ner-eval predict` again to continue" + (
            ", or score with --partial" if answered else ""
        )
        raise UserError(f"{rooted(folder)}: {missing} of {len(scored)} records have no answer yet; {remedy}")
    labels = _labels(manifest, scored, allow_other_labels)
    return LoadedRun(folder, manifest, labels, answered, missing, len(records) - len(scored))


def read_run(folder: Path, gold: Path | None = None) -> tuple[Manifest, list[Record], dict[str, Prediction]]:
    """A run's manifest, the records that it asked for, with or without gold, and its answers by id.

    Raises:
        UserError: a file is missing or malformed; the gold file is not the run's; or there are predictions for unknown
            records.
    """
    manifest = read_manifest(folder)
    path = gold or Path(manifest.gold)
    records = list(read_gold(path))
    _check_gold(path, manifest)
    # A manifest that names no selection (made by hand) asked for all.
    records = select(records, {"limit": None, "sample": None, **manifest.selection})
    predictions = {prediction.id: prediction for prediction in read_predictions(folder)}
    _check_ids(folder / PREDICTIONS, predictions, records, path)
    return manifest, records, predictions


def answer(record: Record, prediction: Prediction, manifest: Manifest) -> Answered:
    """Parse one stored answer with the run's prompt spec, and locate its mentions in the text."""
    if prediction.error:
        return Answered(record, "", Parsed((), (REFUSED,)), (), False, prediction.error)
    parsed = manifest.prompt.parse(prediction.answer, record.text)
    spans = tuple(align(parsed.mentions, record.text))
    return Answered(
        record, prediction.answer, parsed, spans, prediction.finish_reason == "length", "", prediction.tokens
    )


def _check_gold(path: Path, manifest: Manifest) -> None:
    found = hashlib.sha256(path.read_bytes()).hexdigest()
    if found != manifest.gold_sha256:
        sums = f"sha256 {found[:12]}, the run's {manifest.gold_sha256[:12]}"
        remedy = "name the right file with --gold, or predict again"
        raise UserError(f"{rooted(path)}: is not the run's gold file ({sums}); {remedy}")


def _check_ids(where: Path, predictions: dict[str, Prediction], records: list[Record], gold: Path) -> None:
    unknown = predictions.keys() - {record.id for record in records}
    if unknown:
        shown = ", ".join(one_line(name, 40) for name in sorted(unknown)[:3])
        more = ", …" if len(unknown) > 3 else ""
        problem = f"{len(unknown)} ids that are not in the run's selection from {rooted(gold)} ({shown}{more})"
        raise UserError(f"{rooted(where)}: {problem}; predict again into another --run")


def _labels(manifest: Manifest, records: list[Record], allow_others: bool) -> tuple[str, ...]:
    asked = manifest.prompt.labels
    others = sorted({entity.label for record in records for entity in record.gold} - set(asked))
    if others and not allow_others:
        shown = ", ".join(escaped(label, 40) for label in others[:5])
        raise UserError(
            f"{manifest.gold}: gold has labels that the model was not asked for ({shown}); "
            "score with --allow-other-labels (they count as missed), or predict with the prompt of this corpus"
        )
    return (*asked, *others)


def duplicates(answered: Answered) -> Iterator[bool]:
    """For each mention: does it repeat a (label, span) that the same answer has already given?"""
    seen: set[tuple[str, Span]] = set()
    for mention, span in zip(answered.parsed.mentions, answered.spans, strict=True):
        yield span is not None and (mention.label, span) in seen
        if span is not None:
            seen.add((mention.label, span))
