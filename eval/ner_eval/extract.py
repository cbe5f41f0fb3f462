"""Entities of your own texts: ``echo 林晓在云帆科技任经理 | ner-eval extract --model nano-lora-demo --pretty``.

One JSON line a text, in the order of the input, as soon as it is known::

    {"id": "<stdin>:1", "text": "林晓在云帆科技任经理", "entities":
        [{"start": 0, "end": 2, "label": "name", "text": "林晓"}, ...], "problems": []}

Other fields of a JSON or CSV record are kept. Offsets are half-open and count characters of the whole text, however
long it is.
"""

import argparse
import asyncio
import json
import os
import sys
import threading
from collections.abc import AsyncIterator
from contextlib import suppress

from ner_data.errors import UserError
from ner_data.prompt import PromptSpec
from ner_eval.arguments import add_prompt_arguments, add_server_arguments, client_of, positive
from ner_eval.client import Lost
from ner_eval.documents import FORMATS, Document, read_documents
from ner_eval.highlight import highlight
from ner_eval.models import find_model
from ner_eval.prompts import choose_prompt
from ner_eval.recognizer import Asker, Recognized

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
    add_server_arguments(parser)
    add_prompt_arguments(parser)


def run(args: argparse.Namespace) -> None:
    asyncio.run(_extract(args))


async def _extract(args: argparse.Namespace) -> None:
    colour = sys.stdout.isatty() and "NO_COLOR" not in os.environ
    async with client_of(args) as client:
        served = await find_model(client, args.model, args.wait)
        spec = choose_prompt(args.prompt, args.adapter or served.folder, None, (), args.allow_other_prompt)
        asker = Asker(client, args.model, spec, args.structured, args.openai_only, args.concurrency, args.longest)
        read = problems = 0
        try:
            async for document, found in asker.stream(_documents(args)):
                read += 1
                problems += bool(found.problems)
                print(pretty(document, found, spec, colour) if args.pretty else line(document, found), flush=True)
        except Lost as error:
            raise Lost(f"{error}; the first {read} texts are done") from None
    print(f"{read} texts, {problems} with problems", file=sys.stderr)


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


async def _documents(args: argparse.Namespace) -> AsyncIterator[tuple[Document, str]]:
    """Read in a thread: a slow pipe must hold up neither the answers nor, the thread being a daemon, the end."""
    loop = asyncio.get_running_loop()
    queue: asyncio.Queue[Document | Exception | None] = asyncio.Queue()
    room = threading.Semaphore(READ_AHEAD)

    def read() -> None:
        last: Exception | None = None
        # The loop is closed when the program ends before its input: nobody is left to be told.
        with suppress(RuntimeError):
            try:
                for name in args.files:
                    for document in read_documents(name, args.format, args.field, args.whole):
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
