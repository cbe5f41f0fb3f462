"""Convert raw files to gold records: ``ner-data convert CORPUS`` writes ``data/gold/CORPUS/<split>.jsonl``."""

import argparse
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from pathlib import Path

from ner_common.errors import UserError, UserErrors, escaped, one_line, rooted
from ner_common.files import locked, remove_leftovers, write_together
from ner_data.corpus import RAW, Corpus, load_corpus
from ner_data.formats import Sample, load_format
from ner_data.gold import Record, write_gold

MOST = 0.5  # of a split's records, and of those with labels, may be skipped
BUSY = "another `ner-data` command is using it; wait for it"


@dataclass(slots=True)
class Converted:
    """The result of reading one split.

    Attributes:
        records: those that were kept.
        rejected: how many records were skipped, by reason.
        repaired: how often each documented policy was applied to a record that was kept.
        problems: why records were skipped, one message each.
        lost: how many skipped records name each label.
        labelled: how many skipped records name a label.
    """

    records: list[Record] = field(default_factory=list)
    rejected: Counter[str] = field(default_factory=Counter)
    repaired: Counter[str] = field(default_factory=Counter)
    problems: list[str] = field(default_factory=list)
    lost: Counter[str] = field(default_factory=Counter)
    labelled: int = 0

    @property
    def read(self) -> int:
        """How many records the file has."""
        return len(self.records) + self.rejected.total()


def convert(corpus: str, *, raw: Path | None = None, skip_bad: bool = False) -> dict[str, Converted]:
    """Convert the raw files of a corpus and write the gold file of every split, or none of them.

    Args:
        corpus: a name in ``data/corpora``.
        raw: the folder with the raw files; by default ``data/raw/CORPUS``.
        skip_bad: skip bad records instead of raising; not if a split loses too much by it (see `_losses`).

    Returns:
        The result for each split.

    Raises:
        UserError: no such corpus; a raw file cannot be read (see `convert_split`); a record is bad; with
            ``skip_bad``, a split loses too much; or a split with gold has no mention.
    """
    described = load_corpus(corpus)
    splits = {split: convert_split(described, split, raw or RAW / described.name) for split in described.splits}
    problems = [problem for converted in splits.values() for problem in converted.problems]
    if problems and not skip_bad:
        raise UserErrors(problems)
    if losses := [loss for split, converted in splits.items() if (loss := _losses(described, split, converted))]:
        raise UserErrors(losses)
    folder = described.gold_file("train").parent
    folder.mkdir(parents=True, exist_ok=True)
    with locked(folder, BUSY, wait=True), write_together() as write:
        remove_leftovers(folder, lambda name: name.endswith(".jsonl"))
        for split, converted in splits.items():
            write_gold(described.gold_file(split), converted.records, write)
    return splits


def _losses(corpus: Corpus, split: str, converted: Converted) -> str | None:
    """Why the rest of a split is not worth keeping: most records (with labels) or all mentions of a label are skipped.

    A model that is trained on such a rest, or scored with it, would be wrong without a word.
    """
    first = converted.problems[0].removesuffix(", or use --skip-bad") if converted.problems else ""
    first = f"; the first problem: {first}" if first else ""
    if not converted.records:
        return f"{split}: every record is bad{first}"
    bad = converted.rejected.total()
    if bad > MOST * converted.read:
        return f"{split}: {bad} of {converted.read} records are bad, more than half, too many to skip{first}"
    if not corpus.splits[split].gold:
        return None
    kept = {entity.label for record in converted.records for entity in record.entities or ()}
    if gone := [label.id for label in corpus.labels if label.id in converted.lost and label.id not in kept]:
        which = f"the label {gone[0]}" if len(gone) == 1 else f"the labels {', '.join(gone)}"
        return f"{split}: skipping {bad} bad records would lose every mention of {which}{first}"
    labelled = converted.labelled + sum(bool(record.entities) for record in converted.records)
    if kept and converted.labelled > MOST * labelled:
        problem = f"{split}: {converted.labelled} of {labelled} records with labels are bad, more than half"
        return f"{problem}, too many to skip{first}"
    if not kept:
        problem = f"{split}: none of the {converted.read} records has a mention"
        return f"{problem}; correct the raw file, or set `gold: false` for a split without labels{first}"
    return None


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
        record = _record(f"{corpus.name}-{split}-{number}", sample, labels, corpus.name)
        if isinstance(record, Record):
            result.records.append(record)
            result.repaired.update(sample.repairs)
            continue
        reason, message = record
        result.rejected[reason] += 1
        named = sample.labels | {entity.label for entity in sample.entities or ()}
        result.lost.update(named)
        result.labelled += bool(named)
        result.problems.append(f"{rooted(path)}:{sample.line}: record {number}: {message}; fix it, or use --skip-bad")
    if not result.records and not result.problems:
        raise UserError(f"{rooted(path)}: no records; is this a {corpus.format} file?")
    return result


def _record(identity: str, sample: Sample, labels: set[str], corpus: str) -> Record | tuple[str, str]:
    """The record of a sample, or why there is none: (reason, message)."""
    if sample.problem:
        return sample.problem
    if unknown := sorted({entity.label for entity in sample.entities or ()} - labels):
        known = f"{', '.join(sorted(labels))} (data/corpora/{corpus}.yaml)"
        names = ", ".join(escaped(label) for label in unknown)
        return "unknown label", f"unknown label {names}; known: {known}"
    try:
        sample.text.encode()
        return Record(identity, sample.text, sample.entities)
    except UnicodeEncodeError:
        return "lone surrogate", f"{one_line(sample.text)} has a lone surrogate, which UTF-8 cannot encode"
    except ValueError as error:
        return "bad offsets", str(error)


def _tally(converted: Converted, gold: bool) -> str:
    text = f"read {converted.read}, kept {len(converted.records)}, rejected {converted.rejected.total()}"
    counts = [f"{reason} {count}" for reason, count in converted.rejected.most_common()]
    text += f" ({'; '.join(counts)})" if counts else ""
    text += "".join(f"; {policy}: {count}" for policy, count in converted.repaired.most_common())
    return text + ("" if gold else "; no gold: for prediction only")


def _label_table(corpus: Corpus, splits: dict[str, Converted]) -> str:
    """Mentions per label and split, and in all."""
    import pandas as pd

    columns = {
        split: Counter(entity.label for record in converted.records for entity in record.entities or ())
        for split, converted in splits.items()
        if corpus.splits[split].gold
    }
    table = pd.DataFrame(columns, index=[label.id for label in corpus.labels], dtype="Int64").fillna(0)
    # Not table.loc["total"], which may be a label.
    table = pd.concat([table, table.sum().to_frame("total").T])
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
        "--skip-bad",
        action="store_true",
        help="skip bad records and count them by reason, instead of stopping; still stops, without writing anything, "
        "if a split would lose more than half of its records or all its mentions of a label, or more than half of the "
        "records that have labels",
    )


def run(args: argparse.Namespace) -> None:
    splits = convert(args.corpus, raw=args.raw, skip_bad=args.skip_bad)
    corpus = load_corpus(args.corpus)
    for split, converted in splits.items():
        print(f"{rooted(corpus.gold_file(split))}: {_tally(converted, corpus.splits[split].gold)}")
    print(_label_table(corpus, splits))
    for line in _duplicates(splits):
        print(line)
