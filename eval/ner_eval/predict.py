"""Ask a served model for every record of a gold file: ``ner-eval predict --model NAME --corpus CORPUS``.

Answers go to ``runs/NAME/`` as they arrive (see `ner_eval.runs`). Run it again after an interruption: it continues.
"""

import argparse
import asyncio
import hashlib
import platform
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ner_common.commands import positive, tell
from ner_common.errors import UserError, rooted
from ner_common.fingerprints import weights_fingerprint
from ner_common.machine import hardware, installed
from ner_common.training_record import now, read_training_record
from ner_data.corpus import SPLITS, Corpus, load_corpus
from ner_data.gold import Record, read_gold
from ner_data.prompt import PromptSpec
from ner_eval.arguments import (
    add_prompt_arguments,
    add_server_arguments,
    connection,
    prompting,
)
from ner_eval.inference.batch_file import work_offline
from ner_eval.inference.client import Client, Connection, RequestRefused, ServerUnavailable, fail_first, run_async
from ner_eval.inference.request import IGNORED, honoured, request_body, sampling
from ner_eval.inference.served_model import Served, choose_prompt, find_model
from ner_eval.runs.manifest import (
    MANIFEST,
    VERSION,
    Manifest,
    check_same,
    read_manifest,
    run_folder,
    select,
)
from ner_eval.runs.predictions import PREDICTIONS, Prediction, begin, finish, stored_ids
from ner_eval.runs.writer import Writer, locked_run


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
    prompt: Path | None = None,
    adapter: Path | None = None,
    allow_other_prompt: bool = False,
    structured: str = "off",
    connection: Connection | None = None,
) -> tuple[Path, list[Prediction]]:
    """Ask a served model for every record of a split and store the answers in a run's folder.

    Args:
        model: a name that the server serves.
        corpus: a name in ``data/corpora``.
        run: folder in ``runs/``, or a path; by default named after model, corpus, split and selection.
        limit, sample, seed: only the first N records, or N drawn at random with the seed.
        batch: use no server; write an OpenAI batch file, and read its results once available.
        prompt, adapter: the prompt spec, and the folder that holds the one the model was trained with; by default the
            folder that the server reports, then the corpus's prompt spec.
        allow_other_prompt: ask even if labels or answer form differ from the model's or the corpus's.
        structured: off, json or grammar.
        connection: where the servers are; by default ``http://127.0.0.1:8000/v1``.

    Returns:
        The run's folder and its predictions in gold order; no predictions while a batch file is unanswered.

    Raises:
        UserError: no such corpus or split, no gold file, no server, another model or prompt than the run's, or a
            request that is refused. Answers are stored as they arrive: the same call continues.
    """
    described = load_corpus(corpus)
    if split not in described.splits:
        raise UserError(f"{corpus}: has no split {split}; it has {', '.join(described.splits)}")
    selection = {"limit": limit, "sample": sample, "seed": seed if sample else None}
    records = select(list(read_gold(described.gold_file(split))), selection)
    folder = run_folder(run or default_name(model, corpus, split, selection, structured))
    work = _Work(
        model, described, split, folder, records, selection, prompt, adapter, allow_other_prompt, structured,
        connection or Connection(),
    )  # fmt: skip
    if not work.is_complete():
        if batch:
            if not work_offline(folder, work.manifest(work.spec(adapter), None), records, adapter):
                return folder, []
        else:
            run_async(_ask(work))
    return folder, finish(folder, work.ids)


def default_name(model: str, corpus: str, split: str, selection: dict[str, Any], structured: str) -> str:
    """A run's name, from what distinguishes it (except the prompt, which the manifest checks)."""
    parts = [model.strip("/").replace("/", "_"), corpus, split]
    if selection["limit"]:
        parts.append(f"first{selection['limit']}")
    if selection["sample"]:
        parts.append(f"sample{selection['sample']}-{selection['seed']}")
    if structured != "off":
        parts.append(structured)
    return "-".join(parts)


@dataclass(frozen=True, slots=True)
class _Work:
    """The arguments of `predict`, checked and read."""

    model: str
    corpus: Corpus
    split: str
    folder: Path
    records: list[Record]
    selection: dict[str, Any]
    prompt: Path | None
    adapter: Path | None
    allow_other_prompt: bool
    structured: str
    connection: Connection

    @property
    def ids(self) -> list[str]:
        return [record.id for record in self.records]

    def spec(self, trained: Path | None) -> PromptSpec:
        labels = tuple(label.id for label in self.corpus.labels)
        return choose_prompt(self.prompt, trained, self.corpus.name, labels, self.allow_other_prompt)

    def manifest(self, spec: PromptSpec, served: Served | None) -> Manifest:
        gold = self.corpus.gold_file(self.split)
        trained = self.adapter or (served.folder if served else None)
        own = installed("llamafactory-ner") or "not installed"
        versions = {"llamafactory-ner": own, "python": platform.python_version()}
        if served and served.version:
            versions["vllm (server)"] = served.version
        return Manifest(
            version=VERSION,
            model=self.model,
            base_urls=tuple(self.connection.base_urls) if served else (),
            corpus=self.corpus.name,
            split=self.split,
            gold=gold.as_posix(),
            gold_sha256=hashlib.sha256(gold.read_bytes()).hexdigest(),
            prompt=spec,
            sampling=sampling(spec, self.structured, self.connection.openai_only),
            selection=self.selection,
            tool_versions=versions,
            folder=str(trained) if trained else None,
            weights=weights_fingerprint(trained),
            started=now(),
            hardware=hardware(),
            training=read_training_record(trained),
        )

    def is_complete(self) -> bool:
        """Whether nothing is left to ask, so no server is needed; refuses a run that asked something else."""
        if not (self.folder / MANIFEST).exists():
            return False
        stored = read_manifest(self.folder)
        spec = self.spec(self.adapter) if self.prompt or self.adapter else stored.prompt
        served = Served(self.model, Path(stored.folder) if stored.folder else None, None)
        # No server is asked yet, so its version is taken from the stored manifest.
        wanted = replace(self.manifest(spec, served), tool_versions=stored.tool_versions)
        check_same(self.folder, wanted)
        return len(stored_ids(self.folder, self.ids)) == len(self.records)

    def kept(self) -> str:
        stored = len(stored_ids(self.folder, self.ids))
        return f"{stored} of {len(self.records)} answers are stored in {rooted(self.folder)}"


async def _ask(work: _Work) -> None:
    async with work.connection.client() as client:
        served = await find_model(client, work.model, work.connection.wait)
        manifest = work.manifest(work.spec(work.adapter or served.folder), served)
        with locked_run(work.folder):
            stored = begin(work.folder, manifest, work.ids)
            try:
                await ask_all(client, manifest, work.records, stored, work.folder, work.connection.concurrency)
            except ServerUnavailable as error:
                remedy = "start the server (`make serve`) and run the same command again to continue"
                raise ServerUnavailable(f"{error}; {work.kept()}: {remedy}") from None
            except asyncio.CancelledError:  # Ctrl-C
                tell(f"{work.kept()}; run the same command again to continue")
                raise


async def ask_all(
    client: Client, manifest: Manifest, records: Sequence[Record], stored: set[str], folder: Path, concurrency: int
) -> None:
    """Ask for every record that has no stored answer, with up to ``concurrency`` requests in flight, and store them.

    Raises:
        UserError: a request was refused, or no server is available; all answers received are stored.
    """
    from tqdm import tqdm

    mode = manifest.sampling["structured"]
    left = iter([record for record in records if record.id not in stored])
    bar = tqdm(
        total=len(records),
        initial=len(stored),
        unit="answer",
        smoothing=0.05,
        file=sys.stderr,
        mininterval=0.2 if sys.stderr.isatty() else 10.0,
    )

    async def worker(writer: Writer) -> None:
        for record in left:
            body = request_body(manifest.model, manifest.prompt, record.text, manifest.sampling)
            reply = await client.ask(body, record.id)
            if not honoured(mode, manifest.prompt, record.text, reply.answer, reply.finish_reason):
                raise RequestRefused(f"{record.id}: {IGNORED}")
            counts = (reply.prompt_tokens, reply.completion_tokens, reply.seconds)
            writer.append(Prediction(record.id, reply.answer, reply.finish_reason, *counts).as_line())

    with bar, fail_first():
        async with Writer(folder / PREDICTIONS, bar.update) as writer, asyncio.TaskGroup() as group:
            for _ in range(min(concurrency, len(records) - len(stored))):
                group.create_task(worker(writer))


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--corpus", required=True, help="name of a corpus in data/corpora")
    parser.add_argument("--split", default="test", choices=SPLITS, help="default: %(default)s")
    parser.add_argument(
        "--run", metavar="NAME", help="folder in runs/ (default: from model, corpus, split, selection)"
    )
    chosen = parser.add_mutually_exclusive_group()
    chosen.add_argument("--limit", type=positive(int), metavar="N", help="ask only for the first N records")
    chosen.add_argument("--sample", type=positive(int), metavar="N", help="ask for N records drawn at random")
    parser.add_argument(
        "--seed", type=int, default=0, help="seed for drawing the records of --sample (default: %(default)s)"
    )
    add_server_arguments(parser)
    add_prompt_arguments(parser)
    parser.add_argument(
        "--batch",
        action="store_true",
        help="use no server: write an OpenAI batch file, and read its results once available",
    )


def run(args: argparse.Namespace) -> None:
    chosen = {name: getattr(args, name) for name in ("split", "run", "limit", "sample", "seed", "batch")}
    folder, predictions = predict(args.model, args.corpus, **chosen, **prompting(args), connection=connection(args))
    if not predictions:
        return
    cut = sum(prediction.finish_reason == "length" for prediction in predictions)
    tokens = sum(prediction.completion_tokens for prediction in predictions)
    print(
        f"{rooted(folder / PREDICTIONS)}: {len(predictions)} answers, {tokens} tokens, "
        f"{cut} truncated by max_tokens ({time.strftime('%H:%M:%S')})"
    )
