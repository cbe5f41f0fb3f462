"""Describe a corpus from its raw files: ``ner-data init NAME FILE…`` writes ``data/corpora/NAME.yaml``."""

import argparse
import os
import shlex
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ner_common.errors import UserError, counted, escaped, rooted
from ner_common.files import check_free
from ner_data.arguments import add_detection_arguments, add_reading_arguments, detection, reading
from ner_data.corpus import CORPORA, check_name, label_problem, write_description
from ner_data.described import Corpus, Label, Split
from ner_data.detect import Guess, detect
from ner_data.formats import load_format
from ner_data.source import Source
from ner_data.splits import splits_of


@dataclass(slots=True)
class Contents:
    """What a raw file contains.

    Attributes:
        guess: its format.
        second: the format that comes next, if one comes near.
        labels: how many mentions of each label it has.
        read: how many records it has.
        bad: how many of them cannot be read, by reason.
    """

    guess: Guess
    second: Guess | None
    labels: Counter[str] = field(default_factory=Counter)
    read: int = 0
    bad: Counter[str] = field(default_factory=Counter)


def contents(source: Source, format: str | None = None, options: Mapping[str, Any] | None = None) -> Contents:
    """Find out the format of a file, unless it is given, and count its labels.

    Raises:
        UserError: see `detect`; or the file cannot be read in its format.
    """
    from tqdm import tqdm

    guess, second = detect(source, format, options)
    found = Contents(guess, second)
    reader = load_format(guess.format, guess.options)
    for sample in tqdm(reader.read(source, guess.gold), desc=source.path.name, unit=" records", delay=2):
        found.read += 1
        if sample.problem:
            found.bad[sample.problem[0]] += 1
        else:
            found.labels.update(entity.label for entity in sample.entities or ())
    return found


def init(
    name: str,
    files: Sequence[Path],
    *,
    format: str | None = None,
    options: Mapping[str, Any] | None = None,
    **how: Any,
) -> tuple[Path, dict[str, Contents]]:
    """Write the description of a corpus.

    Args:
        name: the corpus.
        files: its raw files; `splits_of` says which split each one is.
        format: their format, if it cannot be found out.
        options: of the format.
        how: ``encoding``, ``nested`` or ``split_sentences``, which the description then holds.

    Returns:
        The folder of the files (``RAW=`` for make), and what each split contains.

    Raises:
        UserError: the name is taken or cannot be a file's; a split is named twice; the files have different formats,
            or see `contents`; there is no label, or one that an instruction cannot hold.
    """
    check_name(name)
    check_free(CORPORA / f"{name}.yaml")
    encoding = how.get("encoding", "utf-8")
    parts = splits_of(files, encoding)
    found = {
        split: contents(Source(paths[0], encoding, paths[1] if paths[1:] else None), format, options)
        for split, paths in parts.items()
    }
    _check_alike(parts, found)
    counts = sum((content.labels for content in found.values()), Counter())
    if not counts:
        raise UserError(f"{rooted(files[0])}: no labels in any file; a corpus needs a split with gold")
    labels = [label for label, _ in counts.most_common()]
    for label in labels:
        if problem := label_problem(label):
            raise UserError(f"{rooted(files[0])}: the label {problem}")
    folder = _folder(path for paths in parts.values() for path in paths)
    best = next(iter(found.values())).guess
    corpus = Corpus(
        name=name,
        title=f"{name}, described by `ner-data init`",
        source=str(folder),
        licence="not stated",
        format=best.format,
        options=dict(best.options),
        splits={split: _split(paths, folder, found[split].guess.gold) for split, paths in parts.items()},
        labels=tuple(Label(label, label) for label in labels),
        **how,
    )
    write_description(corpus)
    return folder, found


def _check_alike(parts: Mapping[str, Sequence[Path]], found: Mapping[str, Contents]) -> None:
    """All files must be of one format."""
    (first, content), *others = found.items()
    best = content.guess
    for split, other in others:
        if (other.guess.format, other.guess.options) != (best.format, best.options):
            problem = f"is {other.guess.format}, but {rooted(parts[first][0])} is {best.format}"
            raise UserError(f"{rooted(parts[split][0])}: {problem}; name the format of both with --format")


def _folder(paths: Iterable[Path]) -> Path:
    """The folder that has all files, relative to the current one if it is inside."""
    common = Path(os.path.commonpath([path.parent.resolve() for path in paths]))
    return Path(os.path.relpath(common)) if common.is_relative_to(Path.cwd()) else common


def _split(paths: Sequence[Path], folder: Path, gold: bool) -> Split:
    names = [(path.parent.resolve() / path.name).relative_to(folder.resolve()).as_posix() for path in paths]
    return Split(names[0], gold=gold, tags=names[1] if names[1:] else None)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", help="what to call the corpus: data/corpora/NAME.yaml")
    parser.add_argument(
        "files",
        nargs="+",
        type=Path,
        metavar="FILE",
        help="raw files; their names say which split each one is (a single one whose name does not is train)",
    )
    add_detection_arguments(parser)
    add_reading_arguments(parser, described=False)


def describe(name: str, content: Contents) -> str:
    """What a file contains and why, in lines."""
    lines = [f"{name}: {content.guess.words}"]
    if content.second and content.second.samples:
        lines.append(f"  next would be {content.second.words}")
    bad = content.bad.total()
    reasons = f" ({counted(content.bad)})" if bad else ""
    lines.append(f"  {content.read} records, {bad} bad{reasons}, {content.labels.total()} mentions")
    if content.labels:
        lines.append("  " + ", ".join(f"{escaped(label)} {count}" for label, count in content.labels.most_common()))
    return "\n".join(lines)


def run(args: argparse.Namespace) -> None:
    how = reading(args)
    folder, found = init(args.name, args.files, **detection(args), **how)
    for split, content in found.items():
        print(describe(split, content))
    print(f"encoding {how.get('encoding', 'utf-8')}; wrote {rooted(CORPORA / f'{args.name}.yaml')}")
    bad = any(content.bad for content in found.values())
    skip = " SKIP_BAD=1" if bad else ""
    command = f"make data CORPUS={args.name} RAW={shlex.quote(str(folder))}{skip}"
    print(f"next: give the labels Chinese names there, and `{command}`")
