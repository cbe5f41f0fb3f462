"""Put corpora together, with labels renamed or dropped: ``ner-data merge NEW CORPUS... --map CORPUS:OLD=NEW``.

A file of maps (``--map FILE.yaml``) says the same for many labels; an empty new label drops the mentions of the old::

    cluener: {position: 职位, game: ""}
    people: {PER: name, LOC: address}
"""

import argparse
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from ner_common.decoding import convert
from ner_common.errors import UserError, UserErrors, escaped, rooted
from ner_common.files import read_yaml
from ner_data.corpus import SPLITS, label_problem, load_corpus
from ner_data.derived import Prepared, check_new, read_splits, unique_ids, write_corpus
from ner_data.described import Corpus, Label
from ner_data.gold import Entity, Record

Maps = Mapping[str, Mapping[str, str]]
FORM = "write CORPUS:OLD=NEW, or name a YAML file"
REPEATED, CONFLICTING = "text of an earlier corpus", "text of an earlier corpus, with other mentions"
ANNOTATED = "text without gold, which a later corpus has with gold"


def merge(new: str, corpora: Sequence[str], *, maps: Maps | None = None) -> Prepared:
    """Write a new corpus with the records of several.

    Train is put to train, dev to dev, test to test. A text that an earlier corpus has in any split is left out, so
    nothing that is scored gets trained on; what one corpus has twice stays. A text without gold gives way to the same
    with gold. Of a split that has gold in some corpora, the records without gold are left out.

    Args:
        new: the new corpus.
        corpora: names in ``data/corpora``; licence and source of all are named, a label's name and definition are
            those of the first that has them.
        maps: corpus -> old label -> new label, or "" to drop its mentions. Other labels stay as they are.

    Raises:
        UserError: no such corpus or label, a map leads to something that is no label, or no label is left.
    """
    check_new(new)
    described = [load_corpus(name) for name in dict.fromkeys(corpora)]
    maps = maps or {}
    _check(described, maps)
    gold = {corpus.name: read_splits(corpus) for corpus in described}
    prepared = Prepared(new, sum(len(records) for splits in gold.values() for records in splits.values()))
    merged: dict[str, list[Record]] = defaultdict(list)
    earlier: dict[str, Record] = {}
    changed: Counter[str] = Counter()
    conflicts, annotated = [], set[str]()
    for corpus in described:
        own: dict[str, Record] = {}
        for split, records in gold[corpus.name].items():
            for record in (_mapped(record, corpus.name, maps.get(corpus.name, {}), changed) for record in records):
                before = earlier.get(record.text)
                if before and before.entities is None and record.entities is not None:
                    annotated.add(record.text)
                    before = None
                if before is None:
                    merged[split].append(record)
                    own.setdefault(record.text, record)
                elif before.entities == record.entities:
                    prepared.rejected[REPEATED] += 1
                else:
                    prepared.rejected[CONFLICTING] += 1
                    conflicts.append(f"{escaped(record.id)} is the text of {escaped(before.id)}, with other mentions")
        earlier |= own
    for split, records in merged.items() if annotated else ():
        merged[split] = [record for record in records if record.entities is not None or record.text not in annotated]
        prepared.rejected[ANNOTATED] += len(records) - len(merged[split])
    splits = _with_gold(merged, prepared.rejected)
    labels = _labels(described, maps)
    prepared.notes += [f"{change}: {count} mentions" for change, count in changed.items()]
    prepared.notes += conflicts[: UserErrors.SHOWN]
    if len(conflicts) > UserErrors.SHOWN:
        prepared.notes.append(f"and {len(conflicts) - UserErrors.SHOWN} more such texts")
    base = replace(
        described[0], source=_joined(corpus.source for corpus in described),
        licence=_joined(corpus.licence for corpus in described),
    )  # fmt: skip
    title = " + ".join(corpus.title for corpus in described)
    prepared.written = write_corpus(new, base, splits, title=title, labels=labels)
    return prepared


def _joined(texts: Iterable[str]) -> str:
    return "; ".join(dict.fromkeys(texts))


def _check(corpora: Sequence[Corpus], maps: Maps) -> None:
    known = {corpus.name: {label.id for label in corpus.labels} for corpus in corpora}
    for name, labels in maps.items():
        if name not in known:
            raise UserError(f"--map {escaped(name)}: not one of the merged corpora, {', '.join(known)}")
        for old, new in labels.items():
            if old not in known[name]:
                names = ", ".join(map(escaped, sorted(known[name])))
                raise UserError(f"--map {name}:{escaped(old)}={escaped(new)}: {name} has the labels {names}")
    for label in _labels(corpora, maps):
        if problem := label_problem(label.id) or label_problem(label.name):
            raise UserError(f"--map: {problem}")


def _labels(corpora: Sequence[Corpus], maps: Maps) -> list[Label]:
    """The labels of the new corpus, in the order in which the corpora have them.

    A label that is called so in a corpus gives its name before one that is renamed to it.
    """
    named: dict[str, list[tuple[bool, Label]]] = {}
    for corpus in corpora:
        for label in corpus.labels:
            if new := maps.get(corpus.name, {}).get(label.id, label.id):
                named.setdefault(new, []).append((new != label.id, label))
    labels = []
    for new, found in named.items():
        ranked = [label for _, label in sorted(found, key=lambda pair: pair[0])]
        definition = next((label.definition for label in ranked if label.definition), "")
        labels.append(Label(new, ranked[0].name if ranked[0].name != ranked[0].id else new, definition))
    if not labels:
        raise UserError("--map drops every label; leave one")
    return labels


def _mapped(record: Record, corpus: str, labels: Mapping[str, str], changed: Counter[str]) -> Record:
    """A record with its labels renamed or dropped, and where it comes from; what changes is counted."""
    source = f"{corpus}/{record.source}" if record.source else corpus
    if record.entities is None:
        return Record(record.id, record.text, None, source)
    entities: dict[Entity, None] = {}
    for entity in record.entities:
        new = labels.get(entity.label, entity.label)
        if new != entity.label:
            change = f"renamed to {escaped(new)}" if new else "dropped"
            changed[f"{corpus}: {escaped(entity.label)} {change}"] += 1
        if new:
            moved = Entity(entity.start, entity.end, new, entity.text)
            if moved in entities:
                changed[f"{corpus}: {escaped(new)} twice at the same place, kept once"] += 1
            entities[moved] = None
    return Record(record.id, record.text, tuple(sorted(entities)), source)


def _with_gold(merged: Mapping[str, list[Record]], rejected: Counter[str]) -> dict[str, list[Record]]:
    """The splits in their usual order: each with gold only, or without any."""
    splits = {}
    for split in (split for split in SPLITS if merged.get(split)):
        able = [record for record in merged[split] if record.entities is not None]
        if able and (without := len(merged[split]) - len(able)):
            rejected[f"no gold in {split}, where others have it"] += without
        splits[split] = list(unique_ids(able or merged[split]))
    return splits


def read_maps(given: Sequence[str]) -> dict[str, dict[str, str]]:
    """Read what was given as ``--map``: rules and files.

    Raises:
        UserError: it is neither, or says two things of one label.
    """
    maps: dict[str, dict[str, str]] = {}
    for word in given:
        rules = _rule(word) if "=" in word else _file(Path(word))
        for corpus, labels in rules.items():
            for old, new in labels.items():
                if maps.setdefault(corpus, {}).setdefault(old, new) != new:
                    there = f"{escaped(corpus)}:{escaped(old)}={escaped(maps[corpus][old])}"
                    raise UserError(f"--map {escaped(word)}: an earlier one says {there}")
    return maps


def _rule(word: str) -> dict[str, dict[str, str]]:
    corpus, colon, rule = word.partition(":")
    old, _, new = rule.partition("=")
    if not (corpus and colon and old) or "=" in corpus:
        raise UserError(f"--map {escaped(word)}: {FORM}")
    return {corpus: {old: new}}


def _file(path: Path) -> dict[str, dict[str, str]]:
    try:
        return convert(read_yaml(path, FORM), dict[str, dict[str, str]])
    except ValueError as error:
        raise UserError(f"{rooted(path)}: {error}; write CORPUS: {{OLD: NEW}} per corpus, and quote labels") from None


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("new", help="name of the new corpus")
    parser.add_argument(
        "corpora", nargs="+", metavar="corpus", help="names in data/corpora, after `make data` of each"
    )
    parser.add_argument(
        "--map",
        action="append",
        default=[],
        metavar="CORPUS:OLD=NEW",
        help="rename a label of a corpus (an empty NEW drops its mentions); or a YAML file, CORPUS: {OLD: NEW}",
    )


def run(args: argparse.Namespace) -> None:
    merge(args.new, args.corpora, maps=read_maps(args.map)).show()
