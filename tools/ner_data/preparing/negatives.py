"""Training sentences without entities, to which the answer is none: ``ner-data negatives CORPUS NEW``.

Hard negatives, whose entities have labels that are not asked for, are a matter of the prompt: `ner_data.fewer_labels`.
"""

import argparse
import random
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path

from ner_common.commands import positive
from ner_common.errors import UserError
from ner_data.corpus import load_corpus
from ner_data.derived import Prepared, add_names, check_new, read_splits, unique_ids, write_corpus
from ner_data.gold import Record
from ner_data.source import ENCODINGS, Source

SHORTEST = 6  # characters of a clause; shorter ones say too little to be a sentence
_CLAUSE = re.compile(r"[^，。！？；：、,!?;…\n]+[，。！？；：、,!?;…\n]*")
_MARKS = " \t\u3000，。！？；：、,!?;…\n”’」』）)】\"'“‘「『（(【《》"


def negatives(
    corpus: str,
    new: str,
    *,
    text: Path | None = None,
    encoding: str = "utf-8",
    clauses: bool = False,
    number: int = 0,
    seed: int = 0,
) -> Prepared:
    """Write a new corpus with the records of another one, and sentences without entities in its training split.

    None of them holds a surface that the training split annotates, is a text of any split, or is there twice.

    Args:
        corpus: a name in ``data/corpora``.
        new: the new corpus.
        text: a file with a sentence per line that is known to have no entity of the corpus's labels.
        encoding: of that file.
        clauses: take the clauses of training sentences that have no mention, cut at punctuation, too.
        number: take so many, drawn by ``seed``; 0: all.
        seed: of the draw.

    Raises:
        UserError: no such corpus or file, or there are fewer negatives.
    """
    if not (text or clauses):
        raise UserError("say where the sentences come from: --text FILE, --clauses, or both")
    check_new(new)
    described = load_corpus(corpus)
    gold = read_splits(described)
    train = gold.get("train", [])
    if not train:
        raise UserError(f"{corpus}: has no training split")
    prepared = Prepared(new, sum(map(len, gold.values())))
    known = _Surfaces(train)
    used = {record.text for records in gold.values() for record in records}
    sources = {"lines": _lines(text, encoding, new) if text else (), "clauses": _clauses(train) if clauses else ()}
    found = {kind: _usable(candidates, known, used, prepared.left_out) for kind, candidates in sources.items()}
    made = [record for records in found.values() for record in records]
    if len(made) < max(number, 1):
        raise UserError(f"{corpus}: found {len(made)} sentences without entities, not {max(number, 1)}; add lines")
    if number:
        made = [made[index] for index in sorted(random.Random(seed).sample(range(len(made)), number))]
        prepared.left_out["not drawn"] = sum(map(len, found.values())) - number
    taken = {record.id for record in made}
    for kind, records in found.items():
        if count := sum(record.id in taken for record in records):
            prepared.added[kind] = count
    gold["train"] = list(unique_ids([*train, *made]))
    prepared.written = write_corpus(new, described, gold, title=f"{described.title} (with {len(made)} negatives)")
    return prepared


def _usable(candidates: Iterable[Record], known: "_Surfaces", used: set[str], left_out: Counter[str]) -> list[Record]:
    """The candidates that can be negatives, whose texts are ``used`` then; the others are counted."""
    usable = []
    for record in candidates:
        if not record.text:
            left_out["blank"] += 1
        elif record.text in used:
            left_out["is a text of the corpus, or there twice"] += 1
        elif known.inside(record.text):
            left_out["holds an annotated surface"] += 1
        else:
            used.add(record.text)
            usable.append(record)
    return usable


def _lines(path: Path, encoding: str, new: str) -> Iterator[Record]:
    for number, line in Source(path, encoding).lines():
        yield Record(f"{new}-negative-{number}", line.strip(), (), f"{path.name}:{number}")


def _clauses(records: Iterable[Record]) -> Iterator[Record]:
    """The clauses without a mention of records with gold, from the first to the last character that is no mark."""
    for record in records:
        if not record.entities:  # no gold, or already without an entity
            continue
        for number, match in enumerate(_CLAUSE.finditer(record.text), start=1):
            start, end = match.span()
            clause = match[0].strip(_MARKS)
            if len(clause) >= SHORTEST and all(e.end <= start or end <= e.start for e in record.entities):
                place = f"{record.source}:{record.text.index(clause, start)}" if record.source else ""
                yield Record(f"{record.id}-clause{number}", clause, (), place)


class _Surfaces:
    """The annotated surfaces of some records, to be looked for in texts."""

    def __init__(self, records: Iterable[Record]) -> None:
        self._known = {entity.text for record in records for entity in record.entities or ()}
        self._lengths: dict[str, set[int]] = defaultdict(set)  # by the first character
        for surface in self._known:
            self._lengths[surface[0]].add(len(surface))

    def inside(self, text: str) -> bool:
        return any(
            text[start : start + length] in self._known
            for start, first in enumerate(text)
            for length in self._lengths.get(first, ())
        )


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_names(parser)
    parser.add_argument("--text", type=Path, metavar="FILE", help="a sentence without entities per line")
    parser.add_argument("--encoding", choices=ENCODINGS, default="utf-8", help="of FILE (default: %(default)s)")
    parser.add_argument(
        "--clauses", action="store_true", help="take the clauses of training sentences that have no mention"
    )
    parser.add_argument("--number", type=positive(int), default=0, metavar="N", help="draw N of them (default: all)")


def run(args: argparse.Namespace) -> None:
    negatives(
        args.corpus, args.new, text=args.text, encoding=args.encoding, clauses=args.clauses, number=args.number,
        seed=args.seed,
    ).show()  # fmt: skip
