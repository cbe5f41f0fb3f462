"""How much is lost when sentences are asked as one long document instead of one by one, with context and in passes.

The gold records of a split are joined, 20 to a document, and asked of a served model in every way::

    .venv/bin/python tests/bench/documents.py --model nano-lora-demo --adapter saves/nano/lora/demo --corpus demo \
        --split test --base-url http://127.0.0.1:8000/v1

F1 counts entities by label and place in the document. Exits with 1 if more than a point (``--most``) is lost the way that
the model is asked by default.
"""

import argparse
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple, TypeVar

from ner_data.corpus import load_corpus
from ner_data.gold import Entity, Record, read_gold
from ner_data.prompt import FILE_NAME, PromptSpec
from ner_eval import Recognizer
from ner_eval.inference.asker import cutting
from ner_eval.inference.splitting import Cutting, distinct

SENTENCES, MOST = 20, 0.01
# whether sentences are packed into pieces as long as the longest training text, characters of context, passes
WAYS = tuple((packed, context, passes) for packed in (False, True) for context in (0, 16) for passes in (1, 2))
Found = set[tuple[int, Entity]]  # the number of a document, and an entity in it
T = TypeVar("T")


class Row(NamedTuple):
    """One way to ask: how many requests it took, and how good the answers are."""

    way: str
    requests: int
    precision: float
    recall: float
    f1: float
    seconds: float


def by_document(values: Sequence[T]) -> list[Sequence[T]]:
    """One value per sentence, grouped by document."""
    return [values[start : start + SENTENCES] for start in range(0, len(values), SENTENCES)]


def documents(texts: Sequence[str]) -> list[str]:
    """The documents that texts make."""
    return ["".join(group) for group in by_document(texts)]


def in_documents(texts: Sequence[str], found: Sequence[Sequence[Entity]]) -> Iterator[tuple[int, Entity]]:
    """The entities of each text as those of its document."""
    for number, group in enumerate(by_document(list(zip(texts, found, strict=True)))):
        start = 0
        for text, entities in group:
            yield from ((number, Entity(start + e.start, start + e.end, e.label, e.text)) for e in entities)
            start += len(text)


def on_a_line(text: str) -> str:
    return f"{text}\n"


def ended(text: str) -> str:
    """A text that is cut off from another one after it: with a full stop if it has no mark of its own."""
    before = "字。"
    cut = Cutting(len(text) + 1, packed=False).cut(f"{before}{text}字")[0]
    return text if cut[-1].start == len(before) + len(text) else f"{text}。"


def row(way: str, requests: int, found: Found, gold: Found, started: float) -> Row:
    right = len(found & gold)
    precision, recall = right / max(1, len(found)), right / max(1, len(gold))
    f1 = 2 * right / max(1, len(found) + len(gold))
    return Row(way, requests, precision, recall, f1, time.perf_counter() - started)


def measure(
    base_url: str,
    model: str,
    spec: PromptSpec,
    records: Sequence[Record],
    as_sentence: Callable[[str], str],
    ways: Sequence[tuple[bool, int, int]] = WAYS,
) -> list[Row]:
    """Ask sentence by sentence, then documents of the sentences in every way (see `WAYS`)."""
    texts = [as_sentence(record.text) for record in records]
    gold = set(in_documents(texts, [record.gold for record in records]))
    started = time.perf_counter()
    single = Recognizer(base_url, model, spec).predict([record.text for record in records])
    rows = [row("sentence by sentence", len(records), set(in_documents(texts, single)), gold, started)]
    for packed, context, count in ways:
        started = time.perf_counter()
        cut = replace(spec, several_sentences=packed)
        answers = Recognizer(base_url, model, cut, context=context, passes=count).predict(documents(texts))
        found = {(number, entity) for number, entities in enumerate(answers) for entity in entities}
        requests = sum(len(distinct(cutting(cut, 0, context, count).cut(text))) for text in documents(texts))
        rows.append(row(f"{'packed, ' * packed}context {context}, passes {count}", requests, found, gold, started))
    return rows


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--base-url", default="http://127.0.0.1:8000/v1")
    parser.add_argument("--model", required=True)
    parser.add_argument("--adapter", type=Path, required=True, help="folder with the ner_prompt.json of the model")
    parser.add_argument("--corpus", default="demo")
    parser.add_argument("--split", default="test")
    parser.add_argument("--limit", type=int, help="of records")
    parser.add_argument("--most", type=float, default=MOST, help="F1 that may be lost (default: %(default)s)")
    args = parser.parse_args()
    spec = PromptSpec.load(args.adapter / FILE_NAME)
    gold = read_gold(load_corpus(args.corpus).gold_file(args.split))
    records = [record for record in gold if record.entities is not None][: args.limit]
    lost = 0.0
    for name, as_sentence in (("on lines of their own", on_a_line), ("one after the other", ended)):
        rows = measure(args.base_url, args.model, spec, records, as_sentence)
        print(f"{len(records)} records of {args.corpus} {args.split}, {SENTENCES} to a document, {name}")
        for one in rows:
            numbers = f"{one.precision:.4f} {one.recall:.4f} {one.f1:.4f} {one.f1 - rows[0].f1:+.4f}"
            print(f"  {one.way:<30} {one.requests:>6} requests {one.seconds:>6.1f} s  P R F1 difference {numbers}")
        default = rows[1 + WAYS.index((spec.several_sentences, 0, 1))]
        lost = max(lost, rows[0].f1 - default.f1)
    if lost > args.most:
        print(f"as it is asked by default, the model loses {lost:.4f} F1 (at most {args.most})")
    return int(lost > args.most)


if __name__ == "__main__":
    raise SystemExit(main())
