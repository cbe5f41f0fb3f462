"""Entities of your own texts: ``echo 林晓在云帆科技任经理 | ner-eval extract --model nano-lora-demo --pretty``.

One JSON line a text, in the order of the input, as soon as it is known::

    {"id": "<stdin>:1", "text": "林晓在云帆科技任经理", "entities":
        [{"start": 0, "end": 2, "label": "name", "text": "林晓"}, ...], "problems": []}

Other fields of a JSON or CSV record are kept. Offsets are half-open and count characters of the whole text, however
long it is. A text that the server does not take (longer than the model's context, say) comes out with the reason among
its problems, and the exit code is 1.
"""

import argparse
import asyncio
import json
import os
import sys
import threading
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, suppress
from itertools import chain
from pathlib import Path

from ner_data.errors import UserError
from ner_data.prompt import PromptSpec
from ner_eval.arguments import add_prompt_arguments, add_server_arguments, client_of, positive
from ner_eval.client import Lost, run_async
from ner_eval.documents import FORMATS, Document, read_documents
from ner_eval.highlight import highlight
from ner_eval.models import find_model
from ner_eval.output import behind, locked
from ner_eval.prompts import choose_prompt
from ner_eval.recognizer import Asker, Recognized
from ner_eval.run import weights_sum
from ner_eval.store import Writer

READ_AHEAD = 256  # texts


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("files", nargs="*", default=["-"], metavar="FILE", help="texts (default: standard input)")
    parser.add_argument("--format", choices=FORMATS, help="default: by the file's name, else text")
    parser.add_argument(
        "--field", default="text", help="JSON field or CSV column with the text (default: %(default)s)"
    )
    parser.add_argument("--whole", action="store_true", help="a text file is one text, not one a line")
    parser.add_argument(
        "--longest",
        type=positive(int),
        default=0,
        metavar="N",
        help="longer texts are split at sentence ends into pieces of N characters (default: what training held)",
    )
    parser.add_argument("--pretty", action="store_true", help="show the texts with their entities coloured")
    parser.add_argument(
        "--output",
        type=Path,
        metavar="FILE",
        help="write the lines there; started again, go on behind the last",
    )
    add_server_arguments(parser)
    add_prompt_arguments(parser)


def run(args: argparse.Namespace) -> int:
    if args.output and args.pretty:
        raise UserError("--pretty is for reading, --output for going on: leave out one of them")
    return run_async(_extract(args))


async def _extract(args: argparse.Namespace) -> int:
    from tqdm import tqdm

    colour = sys.stdout.isatty() and "NO_COLOR" not in os.environ
    done = read = problems = unanswered = 0
    async with client_of(args) as client, AsyncExitStack() as stack:
        served = await find_model(client, args.model, args.wait)
        folder = args.adapter or served.folder
        spec = choose_prompt(args.prompt, folder, None, (), args.allow_other_prompt)
        asker = Asker(client, args.model, spec, args.structured, args.openai_only, args.concurrency, args.longest)
        if args.output:
            asked = {
                "model": args.model,
                "weights": weights_sum(folder),
                "prompt": spec.fingerprint,
                "structured": args.structured,
                "longest": args.longest or spec.longest_text,
            }
            done = stack.enter_context(locked(args.output, asked))
            bar = stack.enter_context(tqdm(initial=done, unit="text", file=sys.stderr))
            writer = await stack.enter_async_context(Writer(args.output, bar.update))
        try:
            async for document, found in asker.stream(_documents(args, done)):
                read += 1
                problems += bool(found.problems)
                unanswered += not found.answered
                if args.output:
                    writer.append(f"{line(document, found)}\n".encode())
                else:
                    print(pretty(document, found, spec, colour) if args.pretty else line(document, found), flush=True)
        except Lost as error:
            remedy = "; run the same command again to go on" if args.output else ""
            raise Lost(f"{error}; the first {done + read} texts are done{remedy}") from None
    stored = f"{done} texts were there; " if done else ""
    print(f"{stored}{read} texts, {problems} with problems, {unanswered} without an answer", file=sys.stderr)
    return int(unanswered > 0)


def line(document: Document, found: Recognized) -> str:
    """A document with its entities as one JSON line; lone surrogates, which UTF-8 cannot hold, stay escaped."""
    entities = [entity.as_json() for entity in found.entities]
    own = {key: value for key, value in document.fields.items() if key != "id" or value not in (None, "")}
    value = {"id": document.id, **own, "text": found.text, "entities": entities, "problems": list(found.problems)}
    text = json.dumps(value, ensure_ascii=False)
    try:
        text.encode()
    except UnicodeEncodeError:
        return json.dumps(value)
    return text


def pretty(document: Document, found: Recognized, spec: PromptSpec, colour: bool) -> str:
    lines = [highlight(found.text, found.entities, spec.labels, colour)]
    lines += [f"  ! {document.id}: {problem}" for problem in found.problems]
    return "\n".join(lines)


async def _documents(args: argparse.Namespace, done: int) -> AsyncIterator[tuple[Document, str]]:
    """Read in a thread: a slow pipe must hold up neither the answers nor, the thread being a daemon, the end."""
    loop = asyncio.get_running_loop()
    queue: asyncio.Queue[Document | Exception | None] = asyncio.Queue()
    room = threading.Semaphore(READ_AHEAD)

    def read() -> None:
        last: Exception | None = None
        # The loop is closed when the program ends before its input: nobody is left to be told.
        with suppress(RuntimeError):
            try:
                each = (read_documents(name, args.format, args.field, args.whole) for name in args.files)
                documents = chain.from_iterable(each)
                for document in behind(documents, args.output, done) if done else documents:
                    room.acquire()
                    loop.call_soon_threadsafe(queue.put_nowait, document)
            except (UserError, OSError) as error:
                last = error
            loop.call_soon_threadsafe(queue.put_nowait, last)

    threading.Thread(target=read, daemon=True).start()
    while (item := await queue.get()) is not None:
        if isinstance(item, Exception):
            raise item
        room.release()
        yield item, item.text
