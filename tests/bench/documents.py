"""How much is lost when sentences are asked as one long document instead of one by one, with context and in passes.

The gold records of a split are joined, 20 to a document, and asked of a served model in every way::

    .venv/bin/python tests/bench/documents.py --model nano-lora-demo --adapter saves/nano/lora/demo --corpus demo \
        --split test --base-url http://127.0.0.1:8000/v1

F1 counts entities by label and place in the document. Exits with 1 if a way loses more than a point (``--most``).
"""

import argparse
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple, TypeVar

from ner_data.corpus import load_corpus
from ner_data.gold import Entity, Record, read_gold
from ner_data.prompt import FILE_NAME, PromptSpec
from ner_eval import Recognizer
from ner_eval.inference.splitting import Cutting, distinct

SENTENCES, MOST = 20, 0.01
WAYS = ((0, 1), (0, 2), (16, 1), (16, 2))  # characters of context, passes
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


def documents(records: Sequence[Record], joiner: str) -> tuple[list[str], Found]:
    """The texts of records with gold, joined, and their entities."""
    texts: list[str] = []
    gold: Found = set()
    for number, group in enumerate(by_document(records)):
        gold |= {(number, entity) for entity in in_document(group, [record.gold for record in group], joiner)}
        texts.append(joiner.join(record.text for record in group))
    return texts, gold


def in_document(group: Sequence[Record], found: Sequence[Sequence[Entity]], joiner: str) -> Iterator[Entity]:
    """Entities of single records as those of the document that these make."""
    start = 0
    for record, entities in zip(group, found, strict=True):
        yield from (Entity(start + e.start, start + e.end, e.label, e.text) for e in entities)
        start += len(record.text) + len(joiner)


def row(way: str, requests: int, found: Found, gold: Found, started: float) -> Row:
    right = len(found & gold)
    precision, recall = right / max(1, len(found)), right / max(1, len(gold))
    f1 = 2 * right / max(1, len(found) + len(gold))
    return Row(way, requests, precision, recall, f1, time.perf_counter() - started)


def measure(
    base_url: str, model: str, spec: PromptSpec, records: Sequence[Record], joiner: str, longest: int = 0
) -> list[Row]:
    """Ask sentence by sentence, then documents in every way."""
    spec = PromptSpec.from_json(spec.as_json() | {"longest_text": longest or spec.longest_text})
    texts, gold = documents(records, joiner)
    started = time.perf_counter()
    single = Recognizer(base_url, model, spec).predict([record.text for record in records])
    found: Found = set()
    for number, (group, answers) in enumerate(zip(by_document(records), by_document(single), strict=True)):
        found |= {(number, entity) for entity in in_document(group, answers, joiner)}
    rows = [row("sentence by sentence", len(records), found, gold, started)]
    for context, count in WAYS:
        started = time.perf_counter()
        answers = Recognizer(base_url, model, spec, context=context, passes=count).predict(texts)
        found = {(number, entity) for number, entities in enumerate(answers) for entity in entities}
        cutting = Cutting(spec.longest_text, False, context, count)
        requests = sum(len(distinct(cutting.cut(text))) for text in texts)
        rows.append(row(f"context {context}, passes {count}", requests, found, gold, started))
    return rows


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--base-url", default="http://127.0.0.1:8000/v1")
    parser.add_argument("--model", required=True)
    parser.add_argument("--adapter", type=Path, required=True, help="folder with the ner_prompt.json of the model")
    parser.add_argument("--corpus", default="demo")
    parser.add_argument("--split", default="test")
    parser.add_argument("--limit", type=int, help="of records")
    parser.add_argument("--longest", type=int, default=0, help="characters of a piece (default: as in training)")
    parser.add_argument("--most", type=float, default=MOST, help="F1 that a way may lose (default: %(default)s)")
    args = parser.parse_args()
    spec = PromptSpec.load(args.adapter / FILE_NAME)
    gold = read_gold(load_corpus(args.corpus).gold_file(args.split))
    records = [record for record in gold if record.entities is not None][: args.limit]
    lost = 0.0
    for name, joiner in (("nothing", ""), ("a line break", "\n")):
        rows = measure(args.base_url, args.model, spec, records, joiner, args.longest)
        print(f"{len(records)} records of {args.corpus} {args.split}, {SENTENCES} to a document, {name} in between")
        for one in rows:
            numbers = f"{one.precision:.4f} {one.recall:.4f} {one.f1:.4f} {one.f1 - rows[0].f1:+.4f}"
            print(f"  {one.way:<22} {one.requests:>6} requests {one.seconds:>6.1f} s  P R F1 difference {numbers}")
        lost = max(lost, *(rows[0].f1 - one.f1 for one in rows))
    if lost > args.most:
        print(f"a way loses {lost:.4f} F1 (at most {args.most})")
    return int(lost > args.most)


if __name__ == "__main__":
    raise SystemExit(main())
