"""Convert raw files to gold records: ``ner-data convert CORPUS`` writes ``data/gold/CORPUS/<split>.jsonl``."""

import argparse
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from pathlib import Path

from ner_common.errors import UserError, UserErrors, rooted
from ner_common.files import write_together
from ner_data.corpus import RAW, Corpus, load_corpus
from ner_data.formats import load_format
from ner_data.gold import Record, write_gold


@dataclass(slots=True)
class Converted:
    """The result of reading one split.

    Attributes:
        records: those that were kept.
        rejected: how many records were skipped, by reason.
        repaired: how often each documented policy was applied to a record that was kept.
        problems: why records were skipped, one message each.
    """

    records: list[Record] = field(default_factory=list)
    rejected: Counter[str] = field(default_factory=Counter)
    repaired: Counter[str] = field(default_factory=Counter)
    problems: list[str] = field(default_factory=list)

    @property
    def read(self) -> int:
        """How many records the file has."""
        return len(self.records) + self.rejected.total()


def convert(corpus: str, *, raw: Path | None = None, skip_bad: bool = False) -> dict[str, Converted]:
    """Convert the raw files of a corpus and write the gold file of every split, or none of them.

    Args:
        corpus: a name in ``data/corpora``.
        raw: the folder with the raw files; by default ``data/raw/CORPUS``.
        skip_bad: skip bad records instead of raising.

    Returns:
        The result for each split.

    Raises:
        UserError: no such corpus; a raw file cannot be read (see `convert_split`); a record is bad, or with
            ``skip_bad`` all records of a split are.
    """
    described = load_corpus(corpus)
    splits = {split: convert_split(described, split, raw or RAW / described.name) for split in described.splits}
    problems = [problem for converted in splits.values() for problem in converted.problems]
    if problems and not skip_bad:
        raise UserErrors(problems)
    for split, converted in splits.items():
        if not converted.records:
            raise UserError(f"{split}: every record is bad; the first problem: {converted.problems[0]}")
    with write_together() as write:
        for split, converted in splits.items():
            write_gold(described.gold_file(split), converted.records, write)
    return splits


def convert_split(corpus: Corpus, split: str, raw: Path) -> Converted:
    """Read one raw file of a corpus.

    Raises:
        UserError: the file is missing, empty or not UTF-8, or has no records. Problems of single records do not
            raise: they are in the result.
    """
    path = raw / corpus.splits[split].file
    labels = {label.id for label in corpus.labels}
    result = Converted()
    reader = load_format(corpus.format)
    for number, sample in enumerate(reader(path, corpus.splits[split].gold), start=1):
        problem = sample.problem
        unknown = sorted({entity.label for entity in sample.entities or ()} - labels)
        if problem is None and unknown:
            known = f"{', '.join(sorted(labels))} (data/corpora/{corpus.name}.yaml)"
            message = f"unknown label {', '.join(unknown)}; known: {known}"
            problem = ("unknown label", message)
        if problem is None:
            result.records.append(Record(f"{corpus.name}-{split}-{number}", sample.text, sample.entities))
            result.repaired.update(sample.repairs)
        else:
            reason, message = problem
            result.rejected[reason] += 1
            result.problems.append(
                f"{rooted(path)}:{sample.line}: record {number}: {message}; fix it, or use --skip-bad"
            )
    if not result.records and not result.problems:
        raise UserError(f"{rooted(path)}: no records; is this a {corpus.format} file?")
    return result


def _tally(converted: Converted, gold: bool) -> str:
    text = f"read {converted.read}, kept {len(converted.records)}, rejected {converted.rejected.total()}"
    counts = [f"{reason} {count}" for reason, count in converted.rejected.most_common()]
    text += f" ({'; '.join(counts)})" if counts else ""
    text += "".join(f"; {policy}: {count}" for policy, count in converted.repaired.most_common())
    return text + ("" if gold else "; no gold: for prediction only")


def _label_table(corpus: Corpus, splits: dict[str, Converted]) -> str:
    """Mentions per label and split."""
    import pandas as pd

    columns = {
        split: Counter(entity.label for record in converted.records for entity in record.entities or ())
        for split, converted in splits.items()
        if corpus.splits[split].gold
    }
    table = pd.DataFrame(columns, index=[label.id for label in corpus.labels], dtype="Int64").fillna(0)
    table.loc["total"] = table.sum()
    return "mentions per label\n" + table.to_string()


def _duplicates(splits: dict[str, Converted]) -> list[str]:
    """Report repeated texts: within a split they count twice, shared by two splits they leak into the score."""
    lines = []
    seen = {}
    for split, converted in splits.items():
        entities = defaultdict(list)
        for record in converted.records:
            entities[record.text].append(record.entities)
        seen[split] = entities
        repeated = [found for found in entities.values() if len(found) > 1]
        if repeated:
            extra = sum(len(found) - 1 for found in repeated)
            conflicting = sum(len(set(found)) > 1 for found in repeated)
            lines.append(
                f"note: {split} repeats {len(repeated)} texts "
                f"({extra} extra copies, {conflicting} with different labels)"
            )
    names = list(seen)
    for index, one in enumerate(names):
        for other in names[index + 1 :]:
            if shared := seen[one].keys() & seen[other].keys():
                lines.append(f"note: {one} and {other} share {len(shared)} texts")
    return lines


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("corpus", help="a name in data/corpora")
    parser.add_argument("--raw", type=Path, metavar="DIR", help="folder with the raw files (default: data/raw/CORPUS)")
    parser.add_argument(
        "--skip-bad", action="store_true", help="skip bad records and count them by reason, instead of stopping"
    )


def run(args: argparse.Namespace) -> None:
    splits = convert(args.corpus, raw=args.raw, skip_bad=args.skip_bad)
    corpus = load_corpus(args.corpus)
    for split, converted in splits.items():
        print(f"{rooted(corpus.gold_file(split))}: {_tally(converted, corpus.splits[split].gold)}")
    print(_label_table(corpus, splits))
    for line in _duplicates(splits):
        print(line)
