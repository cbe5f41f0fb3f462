"""Training records with other mentions of the same labels: ``ner-data augment CORPUS NEW --copies K``.

With the surfaces of the training split 林晓 and 安娜·里德 (name), 云帆科技 and 海腾传媒 (company), a copy of

    林晓在云帆科技任经理    may be    安娜·里德在海腾传媒任经理
"""

import argparse
import random
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

from ner_common.commands import positive
from ner_common.errors import UserError
from ner_data.corpus import load_corpus
from ner_data.derived import Prepared, add_names, check_new, read_splits, unique_ids, write_corpus
from ner_data.gold import Entity, Record
from ner_data.nesting import overlap

KIND = "with other mentions"
HELD_OUT = (
    "what a training holds out of these has copies that it trains on, so `make select` would be too optimistic; "
    "compare with dev"
)


def augment(corpus: str, new: str, *, copies: int, seed: int = 0) -> Prepared:
    """Write a new corpus with the records of another one, and copies of its training records with other mentions.

    Each surface is replaced by another one of its label, any of the training split's different ones with the same
    chance, and wherever it is in the record by the same one. No surface of another split is used, and no copy is the
    text of one, of a training record or of another copy.

    Args:
        corpus: a name in ``data/corpora``.
        new: the new corpus.
        copies: of each training record.
        seed: of the draw.

    Raises:
        UserError: no such corpus, or it has no training split with mentions.
    """
    if copies < 1:
        raise UserError(f"--copies {copies}: ask for 1 or more")
    check_new(new)
    described = load_corpus(corpus)
    gold = read_splits(described)
    train = gold.get("train", [])
    surfaces = _surfaces(train)
    if not surfaces:
        raise UserError(f"{corpus}: its training split has no mention to replace")
    prepared = Prepared(new, sum(map(len, gold.values())))
    held_out = {record.text for split, records in gold.items() if split != "train" for record in records}
    used = {record.text for record in train}
    draw = random.Random(seed)
    made = []
    for record in train:
        if why := _unable(record, surfaces):
            prepared.left_out[why] += copies
            continue
        for number in range(1, copies + 1):
            copy = replaced(record, surfaces, draw, f"{record.id}-copy{number}")
            if copy.text in held_out:
                prepared.left_out["is a text of another split"] += 1
            elif copy.text in used:
                prepared.left_out["is another record's text"] += 1
            else:
                used.add(copy.text)
                made.append(copy)
    prepared.added[KIND] = len(made)
    prepared.notes.append(HELD_OUT)
    gold["train"] = list(unique_ids([*train, *made]))
    title = f"{described.title} ({copies} copies {KIND}, seed {seed})"
    prepared.written = write_corpus(new, described, gold, title=title)
    return prepared


def _surfaces(records: Iterable[Record]) -> dict[str, list[str]]:
    """The different surfaces of each label, sorted."""
    found = defaultdict(set)
    for record in records:
        for entity in record.entities or ():
            found[entity.label].add(entity.text)
    return {label: sorted(texts) for label, texts in found.items()}


def _unable(record: Record, surfaces: Mapping[str, Sequence[str]]) -> str | None:
    """Why a record cannot be copied."""
    if record.entities is None:
        return "no gold"
    if not record.entities:
        return "no mention"
    if overlap(record.entities):
        return "nested or crossing mentions"
    if all(len(surfaces[entity.label]) < 2 for entity in record.entities):
        return "no other surface"
    return None


def replaced(record: Record, surfaces: Mapping[str, Sequence[str]], draw: random.Random, identity: str) -> Record:
    """A copy of a record, whose mentions share no character, with other surfaces of the same labels."""
    other: dict[tuple[str, str], str] = {}
    text, entities, end = "", [], 0
    for entity in record.gold:
        surface = other.get((entity.label, entity.text))
        if surface is None:
            choices = [known for known in surfaces[entity.label] if known != entity.text]
            surface = other[entity.label, entity.text] = draw.choice(choices) if choices else entity.text
        text += record.text[end : entity.start]
        entities.append(Entity(len(text), len(text) + len(surface), entity.label, surface))
        text += surface
        end = entity.end
    return Record(identity, text + record.text[end:], tuple(entities), record.source)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_names(parser)
    parser.add_argument(
        "--copies", type=positive(int), default=1, metavar="K", help="of each training record (default: %(default)s)"
    )


def run(args: argparse.Namespace) -> None:
    augment(args.corpus, args.new, copies=args.copies, seed=args.seed).show()
