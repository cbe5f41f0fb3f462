"""Draw a part of a corpus, for experiments with few data: ``ner-data sample CORPUS NEW --number N``."""

import argparse
import random
from collections import Counter
from collections.abc import Sequence

from ner_common.commands import positive
from ner_common.errors import UserError, escaped
from ner_data.corpus import SPLITS, load_corpus
from ner_data.derived import Prepared, add_names, check_new, read_splits, write_corpus
from ner_data.gold import Record


def sample(
    corpus: str,
    new: str,
    *,
    number: int = 0,
    share: float = 0.0,
    per_label: int = 0,
    splits: Sequence[str] = ("train",),
    seed: int = 0,
) -> Prepared:
    """Write a new corpus with some of the records of some splits, in their order, and the other splits whole.

    Of the same seed, a larger sample without ``per_label`` has all records of a smaller one.

    Args:
        corpus: a name in ``data/corpora``.
        new: the new corpus.
        number: how many records of each split; or
        share: how many of them, above 0 and at most 1.
        per_label: so many records at least have each label, or all that there are. Alone: no more records than that
            takes.
        splits: where to draw.
        seed: of the draw.

    Raises:
        UserError: no such corpus or split, it has fewer records, or so few cannot show every label.
    """
    if bool(number) + bool(share) > 1 or not (number or share or per_label):
        raise UserError(
            "ask for --number N or --share F, for --per-label K, or for one of the first two with the last"
        )
    if share and not 0 < share <= 1:
        raise UserError(f"--share {share}: must be above 0 and at most 1")
    check_new(new)
    described = load_corpus(corpus)
    if unknown := [split for split in splits if split not in described.splits]:
        raise UserError(f"{corpus}: has no split {escaped(unknown[0])}; it has {', '.join(described.splits)}")
    gold = read_splits(described)
    prepared = Prepared(new, sum(map(len, gold.values())))
    drawn = dict(gold)
    for split in splits:
        size = number or round(share * len(gold[split])) or bool(share)
        drawn[split] = _draw(f"{corpus} {split}", gold[split], size, per_label, random.Random(seed))
        if left_out := len(gold[split]) - len(drawn[split]):
            prepared.rejected[f"not drawn from {split}"] = left_out
        prepared.notes += _rare(split, drawn[split], gold[split], per_label)
    how = [f"{number} records"] if number else [f"{share:g} of the records"] if share else []
    how += [f"at least {per_label} with each label"] if per_label else []
    title = f"{described.title} ({' and '.join(splits)}: {', '.join(how)}, seed {seed})"
    prepared.written = write_corpus(new, described, drawn, title=title)
    return prepared


def _draw(where: str, records: list[Record], size: int, per_label: int, draw: random.Random) -> list[Record]:
    """Records in their order: ``size`` of them, or as many as ``per_label`` takes if it is 0.

    Labels are served from the rarest on, as what is drawn for a rare one often has frequent ones too.
    """
    if size > len(records):
        raise UserError(f"{where}: has {len(records)} records, not {size}; ask for fewer")
    order = draw.sample(range(len(records)), len(records))
    labels = [{entity.label for entity in record.entities or ()} for record in records]
    frequency = Counter(label for found in labels for label in found)
    chosen: dict[int, None] = {}
    had: Counter[str] = Counter()
    for label in sorted(frequency, key=lambda label: (frequency[label], label)) if per_label else ():
        for index in order:
            if had[label] >= per_label:
                break
            if label in labels[index] and index not in chosen:
                chosen[index] = None
                had.update(labels[index])
    if size and len(chosen) > size:
        raise UserError(f"{where}: {size} records cannot show each label {per_label} times; ask for {len(chosen)}")
    chosen.update(dict.fromkeys([index for index in order if index not in chosen][: max(size - len(chosen), 0)]))
    return [records[index] for index in sorted(chosen)]


def _rare(split: str, drawn: list[Record], records: list[Record], per_label: int) -> list[str]:
    """Notes on labels that fewer records have than were asked for, or none of those drawn."""
    have, had = (
        Counter(label for record in some for label in {entity.label for entity in record.entities or ()})
        for some in (drawn, records)
    )
    few = [f"{escaped(label)} ({have[label]})" for label in sorted(had) if have[label] < max(per_label, 1)]
    return [f"{split}: fewer than {max(per_label, 1)} records have {', '.join(few)}"] if few else []


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_names(parser)
    parser.add_argument("--number", type=positive(int), default=0, metavar="N", help="draw N records of each split")
    parser.add_argument("--share", type=positive(float), default=0.0, metavar="F", help="draw this share: 0.1")
    parser.add_argument(
        "--per-label", type=positive(int), default=0, metavar="K", help="draw so that K records have each label"
    )
    parser.add_argument(
        "--splits",
        nargs="+",
        choices=SPLITS,
        default=["train"],
        help="where to draw; the other splits are taken whole (default: train)",
    )


def run(args: argparse.Namespace) -> None:
    sample(
        args.corpus, args.new, number=args.number, share=args.share, per_label=args.per_label, splits=args.splits,
        seed=args.seed,
    ).show()  # fmt: skip
