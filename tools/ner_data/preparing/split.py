"""Divide a corpus into train, dev and test, or into folds: ``ner-data split CORPUS NEW``.

Stratified by label (`stratify`), and near-duplicates stay together (`near_duplicates`), so that no sentence is trained
on whose twin is scored.
"""

import argparse
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence

from ner_common.commands import positive
from ner_common.errors import UserError, escaped
from ner_common.files import write_together
from ner_data.corpus import SPLITS, load_corpus
from ner_data.derived import Prepared, add_names, check_new, read_splits, unique_ids, write_corpus
from ner_data.described import Corpus
from ner_data.gold import Record
from ner_data.near_duplicates import SIMILAR, groups
from ner_data.preparing.stratify import divide, weights

SHARE = 0.1
Parts = dict[str, list[Record]]


def split(
    corpus: str,
    new: str,
    *,
    test: float | None = None,
    dev: float = SHARE,
    folds: int = 0,
    pool: bool = False,
    seed: int = 0,
    similar: float = SIMILAR,
) -> list[Prepared]:
    """Write a new corpus, or one per fold.

    Args:
        corpus: a name in ``data/corpora`` that only has a training split.
        new: the new corpus; of folds, their names without ``1``, ``2``, ….
        test: the share of the records that become test; None: `SHARE`.
        dev: the share that become dev; 0: none.
        folds: of so many equal parts each is test once, and the one after it dev; 0: no folds.
        pool: put the splits that there are together first.
        seed: what is drawn, is drawn by it.
        similar: texts that are at least so similar stay together; see `near_duplicates`.

    Returns:
        What became of the records, per new corpus.

    Raises:
        UserError: a share is out of range, the corpus has other splits than train, or it is too small.
    """
    _check_shares(test, dev, folds, similar)
    for number in range(1, folds + 1):
        check_new(f"{new}{number}")
    if not folds:
        check_new(new)
    described = load_corpus(corpus)
    records, without = _records(described, pool)
    twins = defaultdict(list)
    for record, group in zip(records, groups((record.text for record in records), similar).of, strict=True):
        twins[group].append(record)
    test = SHARE if test is None else test
    shares = [1 / folds] * folds if folds else [1 - test - dev, dev, test]
    together = list(twins.values())
    parts: list[list[Record]] = [[] for _ in shares]
    for members, part in zip(together, divide([*map(weights, together)], shares, seed), strict=True):
        parts[part] += members
    if missing := sum(not part for part, share in zip(parts, shares, strict=True) if share):
        problem = f"its {len(records)} records are {len(together)} groups of near-duplicates"
        raise UserError(f"{corpus}: {problem}, and {missing} of {len(shares)} parts would have none; ask for fewer")
    largest = max(map(len, together))
    note = f"{len(together)} groups of near-duplicates stay together, the largest has {largest} records"
    place = {record.id: position for position, record in enumerate(records)}
    made = []
    with write_together() as write:
        for name, divided, title in _corpora(new, described, parts, dev, folds, seed):
            prepared = Prepared(name, len(records) + without, Counter({"no gold": without} if without else {}))
            whole = {key: sorted(part, key=lambda record: place[record.id]) for key, part in divided.items() if part}
            prepared.notes += [note, *_balance(whole)]
            prepared.written = write_corpus(name, described, whole, title=title, write=write)
            made.append(prepared)
    return made


def _check_shares(test: float | None, dev: float, folds: int, similar: float) -> None:
    if not 0 < similar <= 1:
        raise UserError(f"--similar {similar}: must be above 0 and at most 1")
    if folds and test is not None:
        raise UserError(f"--test {test}: each of the {folds} folds has its part as test; leave --test out")
    if folds and folds < (least := 3 if dev else 2):
        parts = "train, dev and test" if dev else "train and test (--dev 0)"
        raise UserError(f"--folds {folds}: {parts} need at least {least}")
    test = SHARE if test is None else test
    if not (0 <= test < 1 and 0 <= dev < 1 and 0 < test + dev < 1):
        raise UserError(f"--test {test} --dev {dev}: shares from 0 to below 1, and something must be left to train on")


def _records(corpus: Corpus, pool: bool) -> tuple[list[Record], int]:
    """The records with gold, and how many have none."""
    if not pool and list(corpus.splits) != ["train"]:
        names = ", ".join(corpus.splits)
        raise UserError(f"{corpus.name}: has the splits {names}; divide all of them again with --pool")
    every = [record for records in read_splits(corpus).values() for record in records]
    able = list(unique_ids(record for record in every if record.entities is not None))
    if not able:
        raise UserError(f"{corpus.name}: no record has gold; there is nothing to divide by label")
    return able, len(every) - len(able)


def _corpora(
    new: str, base: Corpus, parts: Sequence[list[Record]], dev: float, folds: int, seed: int
) -> Iterator[tuple[str, Parts, str]]:
    """The name, the splits and the title of each new corpus."""
    if not folds:
        yield new, dict(zip(SPLITS, parts, strict=True)), f"{base.title} (divided with seed {seed})"
        return
    for number in range(folds):
        held_out = {"test": number} | ({"dev": (number + 1) % folds} if dev else {})
        train = [record for at, part in enumerate(parts) if at not in held_out.values() for record in part]
        divided = {"train": train} | {key: parts[held_out[key]] for key in SPLITS if key in held_out}
        yield f"{new}{number + 1}", divided, f"{base.title} (fold {number + 1} of {folds}, seed {seed})"


def _balance(divided: Parts) -> Iterator[str]:
    """How far the shares of the labels are from those of the records, and which labels a split lacks."""
    total = {key: weights(records) for key, records in divided.items()}
    every = sum(total.values(), Counter[str]())
    labels = sorted({entity.label for records in divided.values() for record in records for entity in record.gold})
    size = sum(map(len, divided.values()))
    off = [
        (abs(counts[label] / every[label] - len(divided[key]) / size), key, label)
        for key, counts in total.items()
        for label in labels
    ]
    if off:
        _, key, label = max(off)
        share, of = total[key][label] / every[label], len(divided[key]) / size
        yield (
            f"{key} has {of:.1%} of the records; the label farthest from its split's share is {escaped(label)}: "
            f"{key} has {share:.1%} of its {every[label]} mentions"
        )
    for key, counts in total.items():
        if lacking := [escaped(label) for label in labels if not counts[label]]:
            yield f"{key} has no mention of {', '.join(lacking)}: too rare, or all in one group"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_names(parser)
    parser.add_argument("--test", type=float, metavar="SHARE", help=f"of the records (default: {SHARE}); 0: no test")
    parser.add_argument(
        "--dev", type=float, metavar="SHARE", default=SHARE, help="of the records (default: %(default)s); 0: no dev"
    )
    parser.add_argument(
        "--folds",
        type=positive(int),
        default=0,
        metavar="K",
        help="write K corpora NEW1, NEW2, …: of K equal parts each is test once and the next one dev (--dev 0: none)",
    )
    parser.add_argument("--pool", action="store_true", help="divide all splits of the corpus again, not only train")
    parser.add_argument(
        "--similar",
        type=float,
        default=SIMILAR,
        metavar="S",
        help="texts whose character pairs are this similar (Jaccard index) stay together (default: %(default)s)",
    )


def run(args: argparse.Namespace) -> None:
    made = split(
        args.corpus, args.new, test=args.test, dev=args.dev, folds=args.folds, pool=args.pool, seed=args.seed,
        similar=args.similar,
    )  # fmt: skip
    for prepared in made:
        prepared.show()
