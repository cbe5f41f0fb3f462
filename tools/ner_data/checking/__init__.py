"""Look through a corpus's gold files for what its owner should act on: ``ner-data check CORPUS``."""

import argparse
import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from time import perf_counter

from ner_common.commands import positive
from ner_common.errors import UserError, escaped, rooted
from ner_common.files import locked, write_atomically, write_json
from ner_common.parallel import workers_for
from ner_data.checking.distributions import RARE, drift, negatives, rare_labels
from ner_data.checking.distributions import rare as rare_found
from ner_data.checking.fix import fix
from ner_data.checking.near import AUTOMATIC, near_duplicates
from ner_data.checking.page import page
from ner_data.checking.places import Places
from ner_data.checking.report import CLASSES, MOST, Found, Report
from ner_data.checking.scanning import scan
from ner_data.checking.searching import Index, search
from ner_data.checking.surfaces import Surfaces, ambiguous, characters, single, unannotated, width
from ner_data.checking.terminal import FIRST, describe
from ner_data.checking.texts import Texts, conflicts, duplicates, leakage
from ner_data.checking.tokens import Lengths, count_tokens
from ner_data.convert import BUSY
from ner_data.corpus import load_corpus
from ner_data.derived import check_new
from ner_data.described import Corpus
from ner_data.gold import remade


def check(
    corpus: str,
    *,
    tokenizer: Path | None = None,
    cutoff: int = 0,
    near: bool | None = None,
    rare: int = RARE,
    workers: int = 0,
) -> Report:
    """Look through the gold files of a corpus. Nothing is changed.

    Args:
        corpus: a name in ``data/corpora``.
        tokenizer: a folder with a ``tokenizer.json``, to count tokens with.
        cutoff: find records with more tokens than that; 0: none.
        near: whether to search near-duplicates; None: if there are not too many texts.
        rare: mentions in train below which a label is rare.
        workers: how many processes read large files; 0: one per core. The result is the same for any number.

    Raises:
        UserError: no such corpus, a gold file is missing or damaged, no tokenizer in the folder, or a cutoff without
            a tokenizer.
    """
    if cutoff and not tokenizer:
        raise UserError(f"--cutoff {cutoff} counts tokens; name a model's folder with --tokenizer DIR")
    described = load_corpus(corpus)
    paths = {split: described.gold_file(split) for split in described.splits}
    lengths = Lengths(tokenizer, corpus) if tokenizer else None
    for path in paths.values():
        if not path.is_file():
            raise UserError(f"{rooted(path)}: no such file; {remade(path)}")
    labels = [(label.id, label.name) for label in described.labels]
    report = Report(corpus, described.title, labels, {}, cutoff=cutoff)
    with locked(path.parent, BUSY, wait=True):  # one conversion wrote them all
        _look(report, described, paths, lengths, near, rare, workers)
    report.found = {name: report.found[name] for name in CLASSES}
    return report


def _look(
    report: Report,
    corpus: Corpus,
    paths: dict[str, Path],
    lengths: Lengths | None,
    near: bool | None,
    rare: int,
    workers: int,
) -> None:
    """Fill a report."""
    size = sum(path.stat().st_size for path in paths.values())
    workers = workers_for(size, workers)
    with _stage(report, "records", size) as tick:
        scans = {split: scan(path, corpus.splits[split].file, workers, tick) for split, path in paths.items()}
    report.splits = {split: one.figures for split, one in scans.items()}
    names = [label for label, _ in report.labels]
    with Places(paths, scans) as places:
        with _stage(report, "surfaces", size) as tick:
            surfaces = Surfaces([one.surfaces for one in scans.values()])
            few = set(rare_labels(report.splits, names, rare))
            index = Index(surfaces.labels, surfaces.watched(), few)
            hits = {split: search(path, index, workers, tick) for split, path in paths.items()}
        report.found["ambiguous"] = ambiguous(surfaces, hits, places)
        report.found["unannotated"] = unannotated(surfaces, hits, places)
        report.found["width"] = width(surfaces, hits, places)
        for kind in ("boundaries", "half-words", "overlaps"):
            report.found[kind] = single(kind, places)
        report.found["characters"] = characters(places)
        report.found["rare"] = rare_found(report.splits, names, rare, hits, places)
        report.found["negatives"] = negatives(report.splits, places)
        report.found["drift"] = drift(report.splits, places)
        with _stage(report, "copies"):
            texts = Texts(scans)
            report.texts = texts.count
            report.found["duplicates"] = duplicates(texts, places)
            report.found["leakage"] = leakage(texts, places)
            report.found["conflicts"] = conflicts(texts, places)
        report.found["near-duplicates"] = _near(report, texts, places, paths, near)
        report.found["long"] = _long(report, places, paths, lengths)


def _near(report: Report, texts: Texts, places: Places, paths: dict[str, Path], near: bool | None) -> Found:
    if near is False:
        return Found(skipped="not wanted (--no-near)")
    if find_spec("rensa") is None:
        if near:
            raise UserError("--near needs the package rensa, which is not installed here; use .venv, which has it")
        return Found(skipped="needs the package rensa, which .venv has")
    if near is None and texts.count > AUTOMATIC:
        return Found(skipped=f"{texts.count:,} distinct texts, more than {AUTOMATIC:,}; --near searches them")
    with _stage(report, "near-duplicates", texts.count, "texts") as tick:
        return near_duplicates(texts, places, paths, tick)


def _long(report: Report, places: Places, paths: dict[str, Path], lengths: Lengths | None) -> Found:
    if not lengths:
        return Found(skipped="needs --tokenizer DIR and --cutoff N")
    report.tokenizer, report.tokens_of = lengths.tokenizer, lengths.of
    with _stage(report, "tokens", sum(one.records for one in report.splits.values()), "records") as tick:
        found = count_tokens(lengths, paths, places, report.cutoff, tick)
    if not report.cutoff:
        found.skipped = "needs --cutoff N"
    return found


@contextmanager
def _stage(report: Report, name: str, total: int = 0, unit: str = "B") -> Iterator[Callable[[int], object]]:
    """Show the progress of a stage, and note how long it took."""
    from tqdm import tqdm

    begin = perf_counter()
    with tqdm(total=total, unit=unit, unit_scale=True, desc=name, delay=2) as bar:
        yield bar.update
    report.seconds[name] = round(perf_counter() - begin, 2)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    width = max(map(len, CLASSES))
    listed = "\n".join(f"  {name:{width}}  {kind.title}" for name, kind in CLASSES.items())
    parser.epilog = f"classes of findings:\n{listed}"
    parser.add_argument("corpus", help="a name in data/corpora")
    parser.add_argument("--all", action="store_true", help=f"print all findings, at most {MOST} of each class")
    parser.add_argument("--html", type=Path, metavar="FILE", help="write one self-contained page, with plots")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write everything as JSON; - prints it instead")
    parser.add_argument(
        "--strict",
        metavar="CLASS[,CLASS]",
        default="",
        help="exit with 1 if anything of these classes is found, or `all`",
    )
    parser.add_argument(
        "--tokenizer",
        type=Path,
        metavar="DIR",
        help="count tokens with DIR/tokenizer.json (needs the package tokenizers)",
    )
    parser.add_argument(
        "--cutoff", type=positive(int), default=0, metavar="N", help="find records of more than N tokens"
    )
    parser.add_argument(
        "--near",
        action=argparse.BooleanOptionalAction,
        help=f"search near-duplicates (default: if there are at most {AUTOMATIC:,} distinct texts)",
    )
    parser.add_argument(
        "--rare",
        type=positive(int),
        default=RARE,
        metavar="N",
        help="a label with fewer mentions in train is rare (default: %(default)s)",
    )
    parser.add_argument(
        "--fix",
        metavar="NAME",
        help="write a cleaned copy as the corpus NAME, with a line for each change in data/raw/NAME/changes.log: "
        "mentions without punctuation and space at their ends, train without exact copies and texts of dev and test",
    )


def run(args: argparse.Namespace) -> int:
    wanted = strict_classes(args.strict)
    if args.fix is not None:
        check_new(args.fix)
    near = args.near
    if near is None and args.strict != "all" and "near-duplicates" in wanted:
        near = True
    report = check(args.corpus, tokenizer=args.tokenizer, cutoff=args.cutoff, near=near, rare=args.rare)
    if args.strict != "all" and (without := [name for name in wanted if report.found[name].skipped]):
        raise UserError(f"--strict {without[0]}: not looked for: {report.found[without[0]].skipped}")
    if args.json == Path("-"):
        json.dump(report.as_json(), sys.stdout, ensure_ascii=False, indent=2)
        print()
    else:
        for line in describe(report, MOST if args.all else FIRST):
            print(line)
    if args.json and args.json != Path("-"):
        write_json(args.json, report.as_json())
    if args.html:
        with write_atomically(args.html) as file:
            file.write(page(report))
    if args.fix is not None:
        fixed = fix(args.corpus, args.fix)
        print("\n".join(fixed.lines()), file=sys.stderr if args.json == Path("-") else sys.stdout)
    found = [name for name in wanted if report.found[name].count]
    if found:
        counts = ", ".join(f"{name} {report.found[name].count:,}" for name in found)
        print(f"ner-data: --strict: found {counts}", file=sys.stderr)
    return int(bool(found))


def strict_classes(text: str) -> list[str]:
    """The classes that ``--strict`` names.

    Raises:
        UserError: one of them is none.
    """
    names = [name.strip() for name in text.split(",") if name.strip()]
    if names == ["all"]:
        return list(CLASSES)
    if unknown := [name for name in names if name not in CLASSES]:
        raise UserError(f"--strict: {escaped(unknown[0])} is no class of findings; use {', '.join(CLASSES)} or all")
    return names
