"""Entities of your own texts: ``echo 嘉力中学收下了云帆证券的捐赠 | ner-eval extract --model nano-lora-demo``.

Writes one JSON line per text, in the order of the input, as soon as it is answered::

    {"id": "<stdin>:1", "text": "嘉力中学收下了云帆证券的捐赠", "entities":
        [{"start": 0, "end": 4, "label": "organization", "text": "嘉力中学"}, ...], "problems": []}

Other fields of a JSON or CSV record are kept. Offsets are half-open and count characters of the whole text, however
long it is. With ``--confidence`` each entity also has a ``score`` from 0 to 1, and each text a ``certainty``, the mean
log-probability of the answer's tokens (`ner_eval.confidence.tokens`). A text that the server refuses (for example
because it exceeds the model's context) is written with ``"entities": null`` and the reason among its problems, and the
exit code is 1; ``--retry-refused`` asks it again. ``ner-eval export FILE`` writes such a file for annotation tools.
"""

import argparse
import json
import os
import shlex
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import AsyncExitStack
from dataclasses import asdict, dataclass, field
from itertools import chain
from pathlib import Path

from ner_common.commands import positive
from ner_common.errors import UserError, rooted
from ner_common.fingerprints import weights_fingerprint
from ner_data.prompt import PromptSpec
from ner_eval.arguments import (
    add_confidence_argument,
    add_prompt_arguments,
    add_server_arguments,
    add_threshold_arguments,
    connection,
    prompting,
    wanted_scores,
)
from ner_eval.confidence.trust import Trust, Wanted, trust_in
from ner_eval.inference.asker import Asker, cutting
from ner_eval.inference.client import Connection, run_async
from ner_eval.inference.documents import FORMATS, Document, in_thread, read_documents
from ner_eval.inference.failures import ServerUnavailable, shown
from ner_eval.inference.http import encoded
from ner_eval.inference.recognized import Recognized
from ner_eval.inference.request import request_body, sampling
from ner_eval.inference.served_model import Exchanged, choose_prompt, find_model, require_unchanged
from ner_eval.inference.splitting import Cutting, distinct
from ner_eval.reporting.terminal import highlight
from ner_eval.runs.output_file import Asked, Store, open_output


@dataclass(slots=True)
class Extracted:
    """Numbers of texts.

    Attributes:
        done: already in the output file; refused: those of them that the server refused and that were not asked again.
        read: asked now; problems, unanswered: those of them with problems, and without an answer.
        dropped: entities of these that were left out for their scores.
    """

    done: int = 0
    refused: int = 0
    read: int = 0
    problems: int = 0
    unanswered: int = 0
    dropped: int = 0


def extract(
    files: Sequence[str],
    model: str,
    *,
    show: Callable[[Document, Recognized, PromptSpec], None] | None = None,
    output: Path | None = None,
    retry_refused: bool = False,
    format: str | None = None,
    field: str = "text",
    whole: bool = False,
    longest: int = 0,
    context: int = 0,
    passes: int = 1,
    prompt: Path | None = None,
    adapter: Path | None = None,
    allow_other_prompt: bool = False,
    structured: str = "off",
    confidence: bool = False,
    wanted: Wanted | None = None,
    connection: Connection | None = None,
) -> Extracted:
    """Find the entities of the texts in files. (`ner_eval.Recognizer` takes texts from Python.)

    Args:
        files: text files, JSON lines, CSV, or ``-`` for standard input.
        model: a name that the server serves.
        show: called with each text, in order, and what was found in it.
        output: a file to write one JSON line per text to; the same call continues after its last line.
        retry_refused: ask again for the texts in the output file that the server refused.
        format, field, whole: see `read_documents`.
        longest: longer texts are sent in pieces of at most this many characters, as many sentences as fit; 0: as
            long as in training, of one sentence each unless many of the training's texts are several.
        context: up to so many characters before each piece are shown to the model and not extracted from.
        passes: how often long texts are cut into pieces, each time elsewhere; what is found later is added where it
            does not overlap what was found before.
        prompt, adapter, allow_other_prompt, structured, connection: see `ner_eval.predict`.
        confidence: give each entity a score, calibrated if the model's folder has a calibration.
        wanted: score by votes, or leave out entities with lower scores (implies ``confidence``).

    Raises:
        UserError: a file cannot be read, there is no prompt or no server, or the output file holds something else.
    """
    how = (prompt, adapter, allow_other_prompt, structured, confidence or bool(wanted), connection or Connection())
    asked = _Asked(model, longest, context, passes, *how, wanted or Wanted())
    return run_async(_extract(_Source(files, format, field, whole), asked, show, output, retry_refused))


@dataclass(frozen=True, slots=True)
class _Source:
    """The input texts."""

    files: Sequence[str]
    format: str | None
    field: str
    whole: bool

    def read(self) -> Iterator[Document]:
        each = (read_documents(name, self.format, self.field, self.whole) for name in self.files)
        return chain.from_iterable(each)


@dataclass(frozen=True, slots=True)
class _Asked:
    """Which model is asked, with which prompt, where."""

    model: str
    longest: int
    context: int
    passes: int
    prompt: Path | None
    adapter: Path | None
    allow_other_prompt: bool
    structured: str
    confidence: bool
    connection: Connection
    wanted: Wanted = field(default_factory=Wanted)

    def spec(self, folder: Path | None) -> PromptSpec:
        openai_only = self.connection.openai_only
        return choose_prompt(self.prompt, folder, None, (), self.allow_other_prompt, openai_only)

    def trust(self, folder: Path | None, spec: PromptSpec) -> Trust:
        if not self.confidence:
            return Trust()
        return trust_in(folder, spec.fingerprint, self.wanted, structured=self.structured)

    def determining(self, folder: Path | None, spec: PromptSpec, trust: Trust) -> Asked:
        """What determines the answers, and which entities of them are written."""
        how = {**asdict(self.cutting(spec)), "confidence": str(trust) if self.confidence else ""}
        how["labels"] = spec.labels
        return Asked(self.model, weights_fingerprint(folder), spec.fingerprint, self.structured, **how)

    def cutting(self, spec: PromptSpec) -> Cutting:
        return cutting(spec, self.longest, self.context, self.passes)

    async def spec_without_asking(self) -> PromptSpec:
        """The prompt spec; the server is asked for the model's folder only if no prompt or adapter is given."""
        if self.prompt or self.adapter:
            return self.spec(self.adapter)
        async with self.connection.client() as client:
            return self.spec((await find_model(client, self.model, self.connection.wait)).folder)


async def _extract(
    source: _Source,
    asked: _Asked,
    show: Callable[[Document, Recognized, PromptSpec], None] | None,
    output: Path | None,
    retry_refused: bool,
) -> Extracted:
    count, connection = Extracted(), asked.connection
    async with connection.client() as client, AsyncExitStack() as stack:
        served = await find_model(client, asked.model, connection.wait, asked.adapter)
        folder = asked.adapter or served.folder
        spec = asked.spec(folder)
        trust = asked.trust(folder, spec)
        how = (asked.structured, connection.openai_only, connection.concurrency)
        cut = (asked.longest, asked.context, asked.passes)
        asker = Asker(client, asked.model, spec, *how, *cut, asked.confidence, trust)
        documents, store = source.read(), None
        if output:
            stored = stack.enter_context(open_output(output, asked.determining(folder, spec, trust)))
            again = stored.refused if retry_refused else []
            count.done, count.refused = stored.lines - len(again), len(stored.refused) - len(again)
            documents = stored.remaining(documents, set(again))
            store = await stack.enter_async_context(Store(stored, again))
        try:
            async for document, found in asker.stream(in_thread(documents)):
                count.read += 1
                count.problems += bool(found.problems)
                count.unanswered += not found.answered
                count.dropped += len(found.dropped)
                if store:
                    await store.add(f"{line(document, found)}\n".encode())
                if show:
                    show(document, found, spec)
            await require_unchanged(client, served)
        except Exchanged as error:
            kept = f"; remove {rooted(output)} and ask again" if output else ""
            raise Exchanged(f"{error}: the answers may be of both{kept}") from None
        except ServerUnavailable as error:
            first = "" if count.done and retry_refused else "the first "
            remedy = "; run the same command again to continue" if output else ""
            raise ServerUnavailable(f"{error}; {first}{count.done + count.read} texts are done{remedy}") from None
    return count


def line(document: Document, found: Recognized) -> str:
    """A document with its entities as one JSON line; the entities of a text without an answer are null."""
    entities = found.as_json() if found.answered else None
    own = {key: value for key, value in document.fields.items() if key != "id" or value not in (None, "")}
    value = {"id": document.id, **own, "text": found.text, "entities": entities, "problems": list(found.problems)}
    if found.certainty is not None:
        value["certainty"] = round(found.certainty, 6)
    return json.dumps(value, ensure_ascii=False)


def pretty(document: Document, found: Recognized, spec: PromptSpec, colour: bool) -> str:
    lines = [highlight(found.text, found.entities, spec.labels, colour)]
    lines += [f"  ! {shown(document.id)}: {problem}" for problem in found.problems]
    return "\n".join(lines)


def curl_commands(source: _Source, asked: _Asked) -> Iterator[str]:
    """One curl command per text, or per piece of a long one, that sends exactly what `extract` sends."""
    spec, connection = run_async(asked.spec_without_asking()), asked.connection
    carried = sampling(spec, asked.structured, connection.openai_only, asked.confidence)
    key = ["-H", "Authorization: Bearer $OPENAI_API_KEY"] if connection.api_key else []
    how = asked.cutting(spec)
    for document in source.read():
        for piece in distinct(how.cut(document.text)):
            text = document.text[piece.before : piece.end]
            body = encoded(request_body(asked.model, spec, text, carried)).decode()
            url = f"{connection.base_urls[0]}/chat/completions"
            words = ["curl", "-s", url, "-H", "Content-Type: application/json", *key, "-d", body]
            # Double quotes: the shell fills in the key, which is not printed.
            yield " ".join(f'"{word}"' if word in key[1:] else shlex.quote(word) for word in words)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "files", nargs="*", default=["-"], metavar="FILE", help="files with texts (default: standard input)"
    )
    parser.add_argument("--format", choices=FORMATS, help="format of the files (default: by their suffix, else text)")
    parser.add_argument(
        "--field", default="text", help="JSON field or CSV column with the text (default: %(default)s)"
    )
    parser.add_argument("--whole", action="store_true", help="treat a text file as one text, not as one text per line")
    parser.add_argument(
        "--longest",
        type=positive(int),
        default=0,
        metavar="N",
        help="split longer texts at sentence ends, into pieces of at most N characters, as many sentences as fit "
        "(default: N is the length of the longest training text; single sentences unless many of those were several)",
    )
    parser.add_argument(
        "--context",
        type=positive(int),
        default=0,
        metavar="N",
        help="show the model up to N characters before each piece, which are not extracted from (default: none)",
    )
    parser.add_argument(
        "--passes",
        type=positive(int),
        default=1,
        metavar="P",
        help="cut packed pieces and long sentences P times, each time elsewhere, and add what the later ones find "
        "(default: %(default)s)",
    )
    parser.add_argument("--pretty", action="store_true", help="print the texts with their entities in colour")
    parser.add_argument(
        "--output",
        type=Path,
        metavar="FILE",
        help="write the lines to FILE, a regular file; a second run continues after its last line",
    )
    parser.add_argument(
        "--retry-refused",
        action="store_true",
        help="ask again for those texts in the --output file that the server refused before",
    )
    parser.add_argument(
        "--dry-run",
        action="store_true",
        help="send nothing; print, for each text, a curl command that sends the same request",
    )
    add_server_arguments(parser)
    add_prompt_arguments(parser)
    add_confidence_argument(parser)
    add_threshold_arguments(parser)
    parser.add_argument(
        "--samples",
        type=positive(int),
        default=0,
        metavar="N",
        help="score an entity by the share of N answers drawn at random that name it, instead of by log-probabilities",
    )


def run(args: argparse.Namespace) -> int:
    if args.output and (args.pretty or args.dry_run):
        raise UserError("--output cannot be combined with --pretty or --dry-run; leave one out")
    if args.retry_refused and not args.output:
        raise UserError("--retry-refused asks again for texts in an output file; name it with --output")
    kept = wanted_scores(args)
    if args.dry_run and kept.samples:
        raise UserError("--dry-run prints one request for each text, not those of --samples; leave one out")
    reading = {name: getattr(args, name) for name in ("format", "field", "whole", "longest", "context", "passes")}
    if args.dry_run:
        source = _Source(args.files, args.format, args.field, args.whole)
        cut = (args.longest, args.context, args.passes)
        how = {**prompting(args), "confidence": args.confidence or bool(kept)}
        asked = _Asked(args.model, *cut, **how, connection=connection(args))
        for command in curl_commands(source, asked):
            print(command)
        return 0
    colour = sys.stdout.isatty() and "NO_COLOR" not in os.environ

    def show(document: Document, found: Recognized, spec: PromptSpec) -> None:
        print(pretty(document, found, spec, colour) if args.pretty else line(document, found), flush=True)

    count = extract(
        args.files, args.model, show=None if args.output else show, output=args.output,
        retry_refused=args.retry_refused, confidence=args.confidence, wanted=kept, **reading,
        **prompting(args), connection=connection(args),
    )  # fmt: skip
    stored = f"{count.done} texts were already done; " if count.done else ""
    if count.refused:
        stored += f"{count.refused} of them the server refused: ask again with --retry-refused; "
    unanswered = f"{count.unanswered} without an answer"
    left_out = f", {count.dropped} entities with lower scores left out" if kept.cuts else ""
    print(f"{stored}{count.read} texts, {count.problems} with problems, {unanswered}{left_out}", file=sys.stderr)
    return int(count.unanswered + count.refused > 0)
