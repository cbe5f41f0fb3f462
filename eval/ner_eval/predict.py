"""Ask a served model for every record of a gold file: ``ner-eval predict --model NAME --corpus CORPUS``.

Answers go to ``runs/NAME/`` as they arrive (see `ner_eval.run`). Start it again after an interruption: it goes on
where it was.
"""

import argparse
import asyncio
import hashlib
import platform
import random
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from ner_data.corpus import SPLITS, Corpus, load_corpus
from ner_data.errors import UserError, rooted
from ner_data.gold import Record, read_gold
from ner_eval import store
from ner_eval.arguments import add_prompt_arguments, add_server_arguments, client_of, fail_first, positive, tell
from ner_eval.batch import work_offline
from ner_eval.client import Client, Lost, Rejected, run_async
from ner_eval.models import Served, find_model
from ner_eval.prompts import choose_prompt
from ner_eval.request import request_body, sampling
from ner_eval.run import MANIFEST, PREDICTIONS, VERSION, Manifest, Prediction, read_manifest, run_folder, weights_sum
from ner_eval.structured import IGNORED, honoured


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--corpus", required=True, help="a name in data/corpora")
    parser.add_argument("--split", default="test", choices=SPLITS, help="default: %(default)s")
    parser.add_argument(
        "--run", metavar="NAME", help="folder in runs/ (default: from model, corpus, split, selection)"
    )
    chosen = parser.add_mutually_exclusive_group()
    chosen.add_argument("--limit", type=positive(int), metavar="N", help="the first N records only")
    chosen.add_argument("--sample", type=positive(int), metavar="N", help="N records drawn at random")
    parser.add_argument("--seed", type=int, default=0, help="of --sample (default: %(default)s)")
    add_server_arguments(parser)
    add_prompt_arguments(parser)
    parser.add_argument(
        "--batch",
        action="store_true",
        help="no server: write an OpenAI batch file, read its results when they are there",
    )


def run(args: argparse.Namespace) -> None:
    corpus = load_corpus(args.corpus)
    if args.split not in corpus.splits:
        raise UserError(f"{corpus.name}: has no split {args.split}; it has {', '.join(corpus.splits)}")
    selection = {"limit": args.limit, "sample": args.sample, "seed": args.seed if args.sample else None}
    records = select(list(read_gold(corpus.gold_file(args.split))), selection)
    folder = run_folder(args.run or default_name(args, selection))
    if not _is_complete(args, corpus, folder, records, selection):
        if args.batch:
            spec = choose_prompt(args.prompt, args.adapter, corpus.name, _labels(corpus), args.allow_other_prompt)
            if not work_offline(folder, _manifest(args, corpus, spec, selection, None), records, args.adapter):
                return
        else:
            run_async(_predict(args, corpus, folder, records, selection))
    _summary(folder, store.finish(folder, [record.id for record in records]))


def select(records: list[Record], selection: dict[str, Any]) -> list[Record]:
    """The records of a selection, in the order of the gold file."""
    if selection["limit"]:
        return records[: selection["limit"]]
    if selection["sample"]:
        drawn = random.Random(selection["seed"]).sample(range(len(records)), min(selection["sample"], len(records)))
        return [records[index] for index in sorted(drawn)]
    return records


def default_name(args: argparse.Namespace, selection: dict[str, Any]) -> str:
    """A run's name from all that tells it from its neighbours (not the prompt: the manifest guards that)."""
    parts = [args.model.strip("/").replace("/", "_"), args.corpus, args.split]
    if selection["limit"]:
        parts.append(f"first{selection['limit']}")
    if selection["sample"]:
        parts.append(f"sample{selection['sample']}-{selection['seed']}")
    if args.structured != "off":
        parts.append(args.structured)
    return "-".join(parts)


def _is_complete(
    args: argparse.Namespace, corpus: Corpus, folder: Path, records: list[Record], selection: dict[str, Any]
) -> bool:
    """Whether nothing is left to ask, so that no server is needed; a run that asked something else is refused."""
    if not (folder / MANIFEST).exists():
        return False
    stored = read_manifest(folder)
    if args.prompt or args.adapter:
        spec = choose_prompt(args.prompt, args.adapter, corpus.name, _labels(corpus), args.allow_other_prompt)
    else:
        spec = stored.prompt
    # Nothing may be left to ask, so it does not matter which releases would be asked.
    served = Served(args.model, Path(stored.folder) if stored.folder else None, None)
    wanted = _manifest(args, corpus, spec, selection, served)
    store.check_same(folder, replace(wanted, tool_versions=stored.tool_versions))
    return len(store.stored_ids(folder, [record.id for record in records])) == len(records)


def _manifest(
    args: argparse.Namespace, corpus: Corpus, spec: Any, selection: dict[str, Any], served: Served | None
) -> Manifest:
    gold = corpus.gold_file(args.split)
    trained = args.adapter or (served.folder if served else None)
    versions = {"llamafactory-ner": _own_version(), "python": platform.python_version()}
    if served and served.version:
        versions["vllm (server)"] = served.version
    return Manifest(
        version=VERSION,
        model=args.model,
        base_urls=tuple(args.base_url or ()),
        corpus=corpus.name,
        split=args.split,
        gold=gold.as_posix(),
        gold_sha256=hashlib.sha256(gold.read_bytes()).hexdigest(),
        prompt=spec,
        sampling=sampling(spec, args.structured, args.openai_only),
        selection=selection,
        tool_versions=versions,
        folder=str(trained) if trained else None,
        weights=weights_sum(trained),
    )


def _labels(corpus: Corpus) -> tuple[str, ...]:
    return tuple(label.id for label in corpus.labels)


def _own_version() -> str:
    try:
        return version("llamafactory-ner")
    except PackageNotFoundError:
        return "not installed"


async def _predict(
    args: argparse.Namespace, corpus: Corpus, folder: Path, records: list[Record], selection: dict[str, Any]
) -> None:
    async with client_of(args) as client:
        served = await find_model(client, args.model, args.wait)
        trained = args.adapter or served.folder
        spec = choose_prompt(args.prompt, trained, corpus.name, _labels(corpus), args.allow_other_prompt)
        manifest = _manifest(args, corpus, spec, selection, served)
        ids = [record.id for record in records]
        with store.locked(folder):
            stored = store.begin(folder, manifest, ids)
            try:
                await ask_all(client, manifest, records, stored, folder, args.concurrency)
            except Lost as error:
                remedy = "start the server (`make serve`) and run the same command again to go on"
                raise Lost(f"{error}; {_kept(folder, ids)}: {remedy}") from None
            except asyncio.CancelledError:  # Ctrl-C
                tell(f"{_kept(folder, ids)}; run the same command again to go on")
                raise


def _kept(folder: Path, ids: Sequence[str]) -> str:
    return f"{len(store.stored_ids(folder, ids))} of {len(ids)} answers are stored in {rooted(folder)}"


async def ask_all(
    client: Client, manifest: Manifest, records: list[Record], stored: set[str], folder: Path, concurrency: int
) -> None:
    """Ask for every record that has no stored answer, ``concurrency`` at a time, and store the answers.

    Raises:
        UserError: a request was rejected, or the servers are lost; all answers that came are stored.
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

    async def worker(writer: store.Writer) -> None:
        for record in left:
            body = request_body(manifest.model, manifest.prompt, record.text, manifest.sampling)
            reply = await client.ask(body, record.id)
            if not honoured(mode, manifest.prompt, record.text, reply.answer, reply.finish_reason):
                raise Rejected(f"{record.id}: {IGNORED}")
            counts = (reply.prompt_tokens, reply.completion_tokens, reply.seconds)
            writer.append(Prediction(record.id, reply.answer, reply.finish_reason, *counts).as_line())

    with bar, fail_first():
        async with store.Writer(folder / PREDICTIONS, bar.update) as writer, asyncio.TaskGroup() as group:
            for _ in range(min(concurrency, len(records) - len(stored))):
                group.create_task(worker(writer))


def _summary(folder: Path, predictions: list[Prediction]) -> None:
    cut = sum(prediction.finish_reason == "length" for prediction in predictions)
    tokens = sum(prediction.completion_tokens for prediction in predictions)
    print(
        f"{rooted(folder / PREDICTIONS)}: {len(predictions)} answers, {tokens} tokens, "
        f"{cut} cut off by max_tokens ({time.strftime('%H:%M:%S')})"
    )
