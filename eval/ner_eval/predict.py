"""Ask a served model for every record of a gold file: ``ner-eval predict --model NAME --corpus CORPUS``.

Answers go to ``runs/NAME/`` as they arrive (see `ner_eval.runs`). Run it again after an interruption: it continues.
A record that the server refuses is stored as refused, and the others are asked.
"""

import argparse
import asyncio
import hashlib
import platform
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from ner_common.commands import positive, tell
from ner_common.errors import UserError, rooted
from ner_common.fingerprints import weights_fingerprint
from ner_common.machine import hardware, installed
from ner_common.training_record import now, read_training_record
from ner_data.corpus import SPLITS, load_corpus
from ner_data.described import Corpus
from ner_data.gold import Record, read_gold
from ner_data.prompt import PromptSpec
from ner_eval.arguments import (
    add_confidence_argument,
    add_prompt_arguments,
    add_server_arguments,
    connection,
    prompting,
)
from ner_eval.inference.asking import ask_all
from ner_eval.inference.batch_file import work_offline
from ner_eval.inference.client import Connection, run_async
from ner_eval.inference.failures import ServerUnavailable
from ner_eval.inference.request import sampling
from ner_eval.inference.served_model import Exchanged, Served, choose_prompt, find_model, require_unchanged
from ner_eval.inference.shots import METHODS, SpecFor, require_untrained, shots_of, specs
from ner_eval.runs.manifest import (
    MANIFEST,
    OURS,
    VERSION,
    Manifest,
    Shots,
    check_same,
    check_selection,
    read_manifest,
    run_folder,
    select,
    write_manifest,
)
from ner_eval.runs.predictions import PREDICTIONS, Prediction, begin, finish, stored
from ner_eval.runs.writer import locked_run


def predict(
    model: str,
    corpus: str,
    *,
    split: str = "test",
    run: str | None = None,
    limit: int | None = None,
    sample: int | None = None,
    seed: int = 0,
    batch: bool = False,
    retry_refused: bool = False,
    prompt: Path | None = None,
    adapter: Path | None = None,
    allow_other_prompt: bool = False,
    structured: str = "off",
    confidence: bool = False,
    draw: int | None = None,
    shots: int = 0,
    shots_from: str = "nearest",
    connection: Connection | None = None,
    gold: Path | None = None,
    bar: Any = None,
) -> tuple[Path, list[Prediction]]:
    """Ask a served model for every record of a split and store the answers in a run's folder.

    Args:
        model: a name that the server serves.
        corpus: a name in ``data/corpora``.
        run: folder in ``runs/``, or a path; by default named after model, corpus, split and selection.
        limit, sample, seed: only the first N records, or N drawn at random with the seed.
        batch: use no server; write an OpenAI batch file, and read its results once available.
        retry_refused: ask again for the records that the server refused; the new answers replace the refusals.
        prompt, adapter: the prompt spec, and the folder that holds the one the model was trained with; by default the
            folder that the server reports, then the corpus's prompt spec.
        allow_other_prompt: ask even if labels or answer form differ from the model's or the corpus's.
        structured: off, json or grammar.
        confidence: store the log-probabilities of the answers' tokens too, from which scores are computed.
        draw: ask for answers drawn at random with this seed, instead of the most likely ones.
        shots: ask each record with so many records of the training split and their answers, for a model that was not
            trained on the task; ``shots_from``: those ``nearest`` to its text, or the same ``fixed`` ones, drawn with
            the seed.
        connection: where the servers are; by default ``http://127.0.0.1:8000/v1``.
        gold: the records, instead of those of the split; ``split`` is what they are called then.
        bar: a progress bar to advance by the number of records, instead of one of its own.

    Returns:
        The run's folder and its predictions in gold order, those with an ``error`` for records that the server
        refused; no predictions while a batch file is unanswered.

    Raises:
        UserError: no such corpus or split, no gold file, no server, another model or prompt than the run's, or a
            server that refuses every request. Answers are stored as they arrive: the same call continues.
    """
    described = load_corpus(corpus)
    if gold is None and split not in described.splits:
        raise UserError(f"{corpus}: has no split {split}; it has {', '.join(described.splits)}")
    selection = {"limit": limit, "sample": sample, "seed": seed if sample else None}
    try:
        check_selection(selection)
    except ValueError as error:
        raise UserError(f"{error}") from None
    gold = gold or described.gold_file(split)
    shown = shots_of(described, shots, shots_from, seed)
    whole = list(read_gold(gold))
    records = select(whole, selection)
    folder = run_folder(run or default_name(model, corpus, split, selection, structured, shown))
    work = _Work(
        model, described, split, gold, folder, whole, records, selection, prompt, adapter, allow_other_prompt,
        structured, confidence, draw, shown, retry_refused, connection or Connection(), bar,
    )  # fmt: skip
    if work.is_complete():
        if bar is not None:
            bar.update(len(records))
        with locked_run(folder):
            return folder, finish(folder, work.ids)
    if batch:
        manifest = work.manifest(work.spec(adapter), None)
        return folder, work_offline(folder, manifest, records, work.specs(manifest), adapter, retry_refused)
    return folder, run_async(_ask(work))


def default_name(
    model: str, corpus: str, split: str, selection: dict[str, Any], structured: str, shots: Shots | None
) -> str:
    """A run's name, from what distinguishes it (except the prompt, which the manifest checks)."""
    parts = [model.strip("/").replace("/", "_"), corpus, split]
    if selection["limit"]:
        parts.append(f"first{selection['limit']}")
    if selection["sample"]:
        parts.append(f"sample{selection['sample']}-{selection['seed']}")
    if structured != "off":
        parts.append(structured)
    if shots:
        parts.append(f"{shots.method}{shots.count}" + ("" if shots.seed is None else f"-{shots.seed}"))
    return "-".join(parts)


@dataclass(frozen=True, slots=True)
class _Work:
    """The arguments of `predict`, checked and read."""

    model: str
    corpus: Corpus
    split: str
    gold: Path
    folder: Path
    whole: list[Record]
    records: list[Record]
    selection: dict[str, Any]
    prompt: Path | None
    adapter: Path | None
    allow_other_prompt: bool
    structured: str
    confidence: bool
    draw: int | None
    shots: Shots | None
    retry_refused: bool
    connection: Connection
    bar: Any

    @property
    def ids(self) -> list[str]:
        return [record.id for record in self.records]

    def spec(self, trained: Path | None) -> PromptSpec:
        if not self.allow_other_prompt:
            require_untrained(self.shots, trained)
        labels = tuple(label.id for label in self.corpus.labels)
        openai_only = self.connection.openai_only
        return choose_prompt(self.prompt, trained, self.corpus.name, labels, self.allow_other_prompt, openai_only)

    def specs(self, manifest: Manifest) -> SpecFor:
        return specs(self.shots, manifest.prompt, self.corpus, self.split, self.whole)

    def manifest(self, spec: PromptSpec, served: Served | None) -> Manifest:
        trained = self.adapter or (served.folder if served else None)
        versions = {OURS: installed(OURS) or "not installed", "python": platform.python_version()}
        if served and served.version:
            versions["vllm (server)"] = served.version
        return Manifest(
            version=VERSION,
            model=self.model,
            base_urls=tuple(self.connection.base_urls) if served else (),
            corpus=self.corpus.name,
            split=self.split,
            gold=self.gold.as_posix(),
            gold_sha256=hashlib.sha256(self.gold.read_bytes()).hexdigest(),
            prompt=spec,
            sampling=sampling(spec, self.structured, self.connection.openai_only, self.confidence, self.draw),
            selection=self.selection,
            tool_versions=versions,
            folder=str(trained) if trained else None,
            weights=weights_fingerprint(trained),
            started=now(),
            hardware=hardware(),
            training=read_training_record(trained),
            shots=self.shots,
        )

    def is_complete(self) -> bool:
        """Whether nothing is left to ask, so no server is needed; refuses a run that asked something else."""
        if not (self.folder / MANIFEST).exists():
            return False
        before = read_manifest(self.folder)
        spec = self.spec(self.adapter) if self.prompt or self.adapter else before.prompt
        served = Served(self.model, Path(before.folder) if before.folder else None, None)
        # No server is asked yet, so its version is taken from the stored manifest.
        wanted = msgspec.structs.replace(self.manifest(spec, served), tool_versions=before.tool_versions)
        check_same(self.folder, wanted)
        kept = stored(self.folder, self.ids)
        return len(kept) == len(self.records) and not (self.retry_refused and any(p.error for p in kept.values()))

    def kept(self) -> str:
        kept = stored(self.folder, self.ids).values()
        refused = sum(bool(prediction.error) for prediction in kept)
        also = f" and {refused} refusals (see --retry-refused)" if refused else ""
        where = rooted(self.folder)
        return f"{len(kept) - refused} of {len(self.records)} answers{also} are stored in {where}"


async def _ask(work: _Work) -> list[Prediction]:
    async with work.connection.client() as client:
        served = await find_model(client, work.model, work.connection.wait, work.adapter)
        manifest = work.manifest(work.spec(work.adapter or served.folder), served)
        spec_for = work.specs(manifest)
        with locked_run(work.folder):
            kept = begin(work.folder, manifest, work.ids)
            done = {id for id, prediction in kept.items() if not (work.retry_refused and prediction.error)}
            answered = next((r for r in work.records if r.id in kept and not kept[r.id].error), None)
            try:
                concurrency, begun = work.connection.concurrency, time.perf_counter()
                await ask_all(
                    client, manifest, work.records, done, work.folder, concurrency, answered, work.bar, spec_for
                )
                await require_unchanged(client, served)
                if not kept:
                    seconds = round(time.perf_counter() - begun, 2)
                    write_manifest(work.folder, msgspec.structs.replace(manifest, seconds=seconds))
            except Exchanged as error:
                kept_as = work.folder / f"{PREDICTIONS}.of-two-models"
                (work.folder / PREDICTIONS).replace(kept_as)
                remedy = f"its answers, which may be of both, are in {rooted(kept_as)}; ask again with another --run"
                raise Exchanged(f"{error}; {remedy}") from None
            except ServerUnavailable as error:
                remedy = "start the server (`make serve`) and run the same command again to continue"
                raise ServerUnavailable(f"{error}; {work.kept()}: {remedy}") from None
            except asyncio.CancelledError:  # Ctrl-C
                tell(f"{work.kept()}; run the same command again to continue")
                raise
            return finish(work.folder, work.ids)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--corpus", required=True, help="name of a corpus in data/corpora")
    parser.add_argument("--split", default="test", choices=SPLITS, help="the split to ask for (default: %(default)s)")
    parser.add_argument(
        "--run", metavar="NAME", help="folder in runs/ (default: from model, corpus, split, selection)"
    )
    chosen = parser.add_mutually_exclusive_group()
    chosen.add_argument("--limit", type=positive(int), metavar="N", help="ask only for the first N records")
    chosen.add_argument("--sample", type=positive(int), metavar="N", help="ask for N records drawn at random")
    parser.add_argument(
        "--seed",
        type=int,
        default=0,
        help="seed for drawing the records of --sample, and those of --shots-from fixed (default: %(default)s)",
    )
    parser.add_argument(
        "--shots",
        type=int,
        default=0,
        metavar="K",
        help="show K records of the training split with their answers, to a model that was not trained on them",
    )
    parser.add_argument(
        "--shots-from",
        choices=METHODS,
        default=METHODS[0],
        help="those most like each text by their character bigrams, or for all texts the same, drawn with --seed so "
        "that every label occurs (default: %(default)s)",
    )
    add_server_arguments(parser)
    add_prompt_arguments(parser)
    add_confidence_argument(parser)
    parser.add_argument(
        "--batch",
        action="store_true",
        help="use no server: write an OpenAI batch file, and read its results once available",
    )
    parser.add_argument(
        "--retry-refused",
        action="store_true",
        help="ask again for the records that the server refused; their new answers replace the refusals",
    )


def run(args: argparse.Namespace) -> int:
    chosen = ("split", "run", "limit", "sample", "seed", "shots", "shots_from", "batch", "retry_refused", "confidence")
    named = {name: getattr(args, name) for name in chosen}
    folder, predictions = predict(args.model, args.corpus, **named, **prompting(args), connection=connection(args))
    if not predictions:
        return 0
    refused = [prediction for prediction in predictions if prediction.error]
    cut = sum(prediction.finish_reason == "length" for prediction in predictions)
    tokens = sum(prediction.completion_tokens for prediction in predictions)
    answers = len(predictions) - len(refused)
    seconds = read_manifest(folder).seconds
    took = f"in {seconds:.0f} s ({answers / seconds:.1f} answers/s), " if seconds else ""
    print(
        f"{rooted(folder / PREDICTIONS)}: {answers} answers, {tokens} tokens, {took}"
        f"{cut} truncated by max_tokens ({time.strftime('%H:%M:%S')})"
    )
    unscored = sum(not (prediction.error or prediction.tokens or not prediction.answer) for prediction in predictions)
    if args.confidence and unscored:
        print(f"{unscored} answers without scores: their tokens do not add up to them")
    if not refused:
        return 0
    print(
        f"ner-eval: the server refused {len(refused)} of {len(predictions)} records, which count as errors in scores; "
        f"ask them again with --retry-refused. The first: {refused[0].error}",
        file=sys.stderr,
    )
    return 1
