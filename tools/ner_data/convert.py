"""Convert raw files to gold records: ``ner-data convert CORPUS`` writes ``data/gold/CORPUS/<split>.jsonl``."""

import argparse
from array import array
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from ner_common.errors import UserError, UserErrors, escaped, one_line, rooted
from ner_common.files import Opener, below, folder_for, locked, remove_leftovers, write_together
from ner_common.parallel import chunks, in_order, workers_for
from ner_data.arguments import add_reading_arguments, reading
from ner_data.converted import Converted, duplicates, label_table, tally
from ner_data.corpus import RAW, load_corpus
from ner_data.described import Corpus
from ner_data.formats import Format, Piece, Sample, load_format
from ner_data.gold import Record, encode_lines
from ner_data.nesting import flatten
from ner_data.sentences import cut
from ner_data.source import Source

MOST = 0.5  # of a split's records, and of those with labels, may be skipped
BUSY = "another `ner-data` command is using it; wait for it"
PIECES = 2000  # that one worker gets at a time
LONG = "sentences that no sentence end cuts (kept, longer than asked)"


@dataclass(frozen=True, slots=True)
class _Work:
    """What a worker needs to know to convert some pieces of a split."""

    reader: Format
    corpus: Corpus
    split: str
    path: Path
    gold: bool
    labels: frozenset[str]
    name: str  # of the file, in the records' sources


def convert(
    corpus: str, *, raw: Path | None = None, skip_bad: bool = False, workers: int = 0, **how: Any
) -> dict[str, Converted]:
    """Convert the raw files of a corpus and write the gold file of every split, or none of them.

    Args:
        corpus: a name in ``data/corpora``.
        raw: the folder with the raw files; by default ``data/raw/CORPUS``.
        skip_bad: skip bad records instead of raising; not if a split loses too much by it (see `_losses`).
        workers: how many processes read large files; 0: one per core. The result is the same for any number.
        how: ``encoding``, ``nested`` or ``split_sentences``, if not as the corpus describes them.

    Returns:
        What became of the records of each split.

    Raises:
        UserError: no such corpus; a raw file cannot be read; a record is bad; with ``skip_bad``, a split loses too
            much; or a split with gold has no mention.
    """
    described = replace(load_corpus(corpus), **how)
    folder = described.gold_file("train").parent
    results: dict[str, Converted] = {}
    with folder_for(folder), locked(folder, BUSY, wait=True), write_together() as write:
        remove_leftovers(folder, lambda name: name.endswith(".jsonl"))
        for split in described.splits:
            results[split] = convert_split(described, split, raw or RAW / described.name, write, workers)
        problems = [problem for converted in results.values() for problem in converted.problems]
        if problems and not skip_bad:
            raise UserErrors(problems, sum(converted.rejected.total() for converted in results.values()))
        if losses := [loss for split, found in results.items() if (loss := _losses(described, split, found))]:
            raise UserErrors(losses)
    return results


def _losses(corpus: Corpus, split: str, converted: Converted) -> str | None:
    """Why the rest of a split is not worth keeping: most records (with labels) or all mentions of a label are skipped.

    A model that is trained on such a rest, or scored with it, would be wrong without a word.
    """
    first = converted.problems[0].removesuffix(", or use --skip-bad") if converted.problems else ""
    first = f"; the first problem: {first}" if first else ""
    if not converted.kept:
        return f"{split}: every record is bad{first}"
    bad = converted.rejected.total()
    if bad > MOST * converted.read:
        return f"{split}: {bad} of {converted.read} records are bad, more than half, too many to skip{first}"
    if not corpus.splits[split].gold:
        return None
    kept = converted.mentions
    if gone := [label.id for label in corpus.labels if label.id in converted.lost and label.id not in kept]:
        which = f"the label {gone[0]}" if len(gone) == 1 else f"the labels {', '.join(gone)}"
        return f"{split}: skipping {bad} bad records would lose every mention of {which}{first}"
    labelled = converted.unlabelled + converted.labelled
    if kept and converted.unlabelled > MOST * labelled:
        problem = f"{split}: {converted.unlabelled} of {labelled} records with labels are bad, more than half"
        return f"{problem}, too many to skip{first}"
    if not kept:
        problem = f"{split}: none of the {converted.read} records has a mention"
        return f"{problem}; correct the raw file, or set `gold: false` for a split without labels{first}"
    return None


def convert_split(corpus: Corpus, split: str, raw: Path, write: Opener, workers: int = 0) -> Converted:
    """Read one raw file of a corpus, and write its gold file.

    Raises:
        UserError: the file is missing, empty or in another encoding, or has no records. Problems of single records do
            not raise: they are in the result.
    """
    from tqdm import tqdm

    described = corpus.splits[split]
    path = raw / described.file
    reader = load_format(corpus.format, corpus.options)
    size = sum(file.stat().st_size for file in (path.rglob("*") if path.is_dir() else [path]) if file.is_file())
    workers = workers_for(size, workers)
    result = Converted()
    identities = array("q")
    with (
        write(corpus.gold_file(split)) as file,
        tqdm(total=size, unit="B", unit_scale=True, desc=split, delay=2) as bar,
    ):
        source = Source(path, corpus.encoding, raw / described.tags if described.tags else None, bar.update)
        labels = frozenset(label.id for label in corpus.labels)
        work = _Work(reader, corpus, split, path, described.gold, labels, path.name)
        # One process sees every id that was used before; of several, each sees those of its pieces.
        convert_some = partial(_converted, work, {} if workers == 1 else None)
        # Columns of plain values take a fraction of the time to get to another process.
        some = enumerate(list(zip(*pieces, strict=True)) for pieces in chunks(reader.pieces(source), PIECES))
        for part in in_order(convert_some, some, workers):
            below(file).write(part.lines)
            result.add(part)
            identities.extend(part.identities)
    if len(set(identities)) < len(identities):  # an id is there twice: one process says where
        return convert_split(corpus, split, raw, write, 1)
    if not result.read:
        raise UserError(f"{rooted(path)}: no records; is this a {corpus.format} file?")
    return result


def _converted(
    work: _Work, before: dict[str | int, int] | None, numbered: tuple[int, list[tuple[Any, ...]]]
) -> Converted:
    """Convert some pieces: their gold lines, and the counts.

    Args:
        work: what they belong to.
        before: the ids that were used before, with their lines; those of these pieces are added. None: unknown.
        numbered: which `PIECES` of the file these are, from 0, and the columns of the pieces.
    """
    result = Converted()
    seen = {} if before is None else before
    kept: list[Record] = []
    for number, piece in enumerate(map(Piece, *numbered[1]), start=numbered[0] * PIECES + 1):
        sample = work.reader.parse(piece, work.gold)
        result.repaired.update(sample.skipped)
        records = _records(f"{work.corpus.name}-{work.split}-{number}", sample, work, seen)
        if isinstance(records, list):
            result.repaired.update(sample.repairs)
            if left_out := _left_out(sample, records) if work.corpus.nested != "keep" else 0:
                result.repaired[f"mentions left out ({work.corpus.nested} of nested ones are kept)"] += left_out
            if len(records) > 1:
                result.repaired["texts cut at sentence ends"] += 1
            kept += records
            continue
        reason, message = records
        result.rejected[reason] += 1
        named = sample.labels | {entity.label for entity in sample.entities or ()}
        result.lost.update(named)
        result.unlabelled += bool(named)
        if len(result.problems) < UserErrors.SHOWN:
            where = work.path / sample.file if sample.file else work.path
            message = f"{rooted(where)}:{sample.line}: record {number}: {message}; fix it, or use --skip-bad"
            result.problems.append(message)
    result.read = len(numbered[1][0])
    _keep(kept, work.corpus.split_sentences, result)
    if before is None:
        result.identities.extend(map(hash, seen))
    return result


def _left_out(sample: Sample, records: list[Record]) -> int:
    """How many mentions of a sample its records lack."""
    return len(sample.entities or ()) - sum(len(record.entities or ()) for record in records)


def _keep(records: list[Record], most: int, result: Converted) -> None:
    """Count the records that are kept, and write their lines."""
    mentions = [record.entities or () for record in records]
    result.kept = len(records)
    result.labelled = sum(map(bool, mentions))
    result.mentions.update([entity.label for entities in mentions for entity in entities])
    if long := sum(len(record.text) > most for record in records) if most else 0:
        result.repaired[LONG] += long
    result.lines = encode_lines(records)
    result.texts.extend([hash(record.text) for record in records])
    result.marks.extend([hash(record.entities) for record in records])


def _records(identity: str, sample: Sample, work: _Work, seen: dict[str | int, int]) -> list[Record] | tuple[str, str]:
    """The records of a sample (several if it is cut into sentences), or why there is none: (reason, message)."""
    if sample.problem:
        return sample.problem
    if sample.identity is not None and seen.setdefault(sample.identity, sample.line) != sample.line:
        used = f"the id {one_line(sample.identity)} is already used in line {seen[sample.identity]}"
        return "duplicate id", used
    if unknown := {entity.label for entity in sample.entities or ()} - work.labels:
        known = f"{', '.join(sorted(work.labels))} (data/corpora/{work.corpus.name}.yaml)"
        names = ", ".join(escaped(label) for label in sorted(unknown))
        return "unknown label", f"unknown label {names}; known: {known}"
    source = sample.source or f"{sample.file or work.name}:{sample.line}"
    entities = None if sample.entities is None else flatten(sample.entities, work.corpus.nested)
    try:
        sample.text.encode()
        whole = Record(identity, sample.text, entities, source)
    except UnicodeEncodeError:
        return "lone surrogate", f"{one_line(sample.text)} has a lone surrogate, which UTF-8 cannot encode"
    except ValueError as error:
        return "bad offsets", str(error)
    most = work.corpus.split_sentences
    if not most or len(whole.text) <= most:
        return [whole]
    parts = [part for part in cut(whole.text, whole.entities, most) if part[1].strip()]
    return [
        Record(f"{identity}.{count}", text, found, f"{source}:{start}")
        for count, (start, text, found) in enumerate(parts, start=1)
    ]


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
    add_reading_arguments(parser, described=True)


def run(args: argparse.Namespace) -> None:
    splits = convert(args.corpus, raw=args.raw, skip_bad=args.skip_bad, **reading(args))
    corpus = load_corpus(args.corpus)
    for split, converted in splits.items():
        print(f"{rooted(corpus.gold_file(split))}: {tally(converted, corpus.splits[split].gold)}")
    print(label_table(corpus, splits))
    for line in duplicates(splits):
        print(line)
