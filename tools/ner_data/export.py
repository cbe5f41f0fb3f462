"""Write gold in another format: ``ner-data export CORPUS --format F --output DIR``."""

import argparse
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from ner_common.errors import UserError, UserErrors, counted, rooted
from ner_common.files import Opener, whole_folder, write_together
from ner_data.arguments import add_format_arguments, parse_options
from ner_data.corpus import load_corpus
from ner_data.described import Corpus
from ner_data.formats import Format, Scores, can_write, format_class, format_names, load_format, option_problems
from ner_data.gold import Record, read_gold
from ner_data.nesting import flatten, overlap

NESTED = "nested mentions"


@dataclass(slots=True)
class Exported:
    """What became of some records.

    Attributes:
        read: how many there were.
        rejected: how many were left out, by reason.
        dropped: how many nested or crossing mentions were left out.
        problems: why records were left out, one message each, as many as are shown.
    """

    read: int = 0
    rejected: Counter[str] = field(default_factory=Counter)
    dropped: int = 0
    problems: list[str] = field(default_factory=list)


def export(
    records: Iterable[Record],
    corpus: Corpus,
    target: Path,
    *,
    format: str,
    options: Mapping[str, Any] | None = None,
    nested: str = "keep",
    skip_bad: bool = False,
    scores: Scores | None = None,
) -> Exported:
    """Write records as ``target`` with the format's suffix, all or nothing.

    Args:
        records: gold, or predictions as gold.
        corpus: the corpus that they belong to.
        target: the file or folder, without suffix.
        format: one that writes (see ``ner-data formats``).
        options: of the format.
        nested: a policy of `nesting.POLICIES`.
        skip_bad: leave out records that the format cannot hold, instead of raising.
        scores: the records are suggestions of a model, with these scores.

    Raises:
        UserError: the format only reads, or has no such option; there is no record that it can hold; or, without
            ``skip_bad``, there is one that it cannot hold.
    """
    with write_together() as write:
        return _export(records, corpus, target, _writer(format, options or {}), nested, skip_bad, write, scores)


def _writer(format: str, options: Mapping[str, Any]) -> Format:
    if not can_write(format_class(format)):
        able = ", ".join(name for name in format_names() if can_write(format_class(name)))
        raise UserError(f"{format}: is only read, not written; use {able}")
    if problems := list(option_problems(format, options)):
        raise UserErrors(problems)
    return load_format(format, options)


def _export(
    records: Iterable[Record],
    corpus: Corpus,
    target: Path,
    format: Format,
    nested: str,
    skip_bad: bool,
    write: Opener,
    scores: Scores | None = None,
) -> Exported:
    done = Exported()
    able = _able(records, format, nested, done)
    if scores is None:
        format.write(able, target, corpus, write)
    else:
        format.suggest(able, scores, target, corpus, write)
    if done.rejected and not skip_bad:
        raise UserErrors(done.problems, done.rejected.total())
    if done.read == done.rejected.total():
        first = f"; the first problem: {done.problems[0]}" if done.problems else ""
        raise UserError(f"{rooted(target)}: no record to write{first}")
    return done


def _able(records: Iterable[Record], format: Format, nested: str, done: Exported) -> Iterator[Record]:
    """The records that a format can hold; counts them, and the others."""
    name = type(format).__module__.rpartition(".")[2]
    for record in records:
        done.read += 1
        entities = None if record.entities is None else flatten(record.entities, nested)
        dropped = len(record.entities or ()) - len(entities or ())
        record = msgspec.structs.replace(record, entities=entities)
        problem = format.refusal(record)
        if entities is not None and not format.nested and overlap(entities):
            message = "has nested or crossing mentions; use --nested outermost or innermost"
            problem = (NESTED, message)
        if problem:
            done.rejected[problem[0]] += 1
            if len(done.problems) < UserErrors.SHOWN:
                what = f"{record.id} ({record.source})" if record.source else record.id
                done.problems.append(f"{what}: {name} cannot hold it: {problem[1]}; or use --skip-bad")
            continue
        done.dropped += dropped
        yield record


def export_corpus(
    corpus: str,
    output: Path,
    *,
    format: str,
    options: Mapping[str, Any] | None = None,
    nested: str = "keep",
    skip_bad: bool = False,
) -> dict[str, Exported]:
    """Write the gold of every split of a corpus into a new folder, all or nothing; see `export`.

    Raises:
        UserError: see `export`; no such corpus; no gold files; or the folder exists.
    """
    described = load_corpus(corpus)
    writer = _writer(format, options or {})
    with whole_folder(output) as folder, write_together() as write:
        return {
            split: _export(
                read_gold(described.gold_file(split)), described, folder / split, writer, nested, skip_bad, write
            )
            for split in described.splits
        }


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("corpus", help="a name in data/corpora, converted to gold")
    add_format_arguments(parser)


def summary(target: Path, exported: Exported) -> str:
    """What became of the records, on one line."""
    kept = exported.read - exported.rejected.total()
    text = f"{rooted(target)}: read {exported.read}, kept {kept}, rejected {exported.rejected.total()}"
    text += f" ({counted(exported.rejected)})" if exported.rejected else ""
    return text + (f"; nested or crossing mentions left out: {exported.dropped}" if exported.dropped else "")


def run(args: argparse.Namespace) -> None:
    options = parse_options(args.format, args.option)
    done = export_corpus(
        args.corpus, args.output, format=args.format, options=options, nested=args.nested, skip_bad=args.skip_bad
    )
    for split, exported in done.items():
        print(summary(args.output / split, exported))
