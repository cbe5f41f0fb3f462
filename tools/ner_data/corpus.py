"""The description of a corpus: ``data/corpora/<name>.yaml``.

A small one::

    name: demo
    title: Generated demonstration corpus
    source: written by `ner-data fetch demo`
    licence: Apache-2.0
    format: cluener                 # a module of ner_data.formats
    splits:
      train: {file: train.json}
      test: {file: test.json, gold: false}     # gold: false = no entities in the file
    labels:
      name: {name: 姓名, definition: 人的名字}    # the definition is optional
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import MISSING, dataclass, fields
from pathlib import Path, PurePosixPath
from typing import Any

from ner_common.errors import UserError, UserErrors, escaped, is_plain, one_line, printable, rooted
from ner_common.files import read_yaml
from ner_data.formats import format_names
from ner_data.prompt import escape

CORPORA = Path("data/corpora")
GOLD = Path("data/gold")
RAW = Path("data/raw")
SPLITS = ("train", "dev", "test")


@dataclass(frozen=True, slots=True)
class Split:
    """One file of a corpus: its name in the raw folder, its URL, its SHA-256, and whether it has entities."""

    file: str
    url: str | None = None
    sha256: str | None = None
    gold: bool = True


@dataclass(frozen=True, slots=True)
class Label:
    """A label: its id in gold and answers, its Chinese name, and its definition (empty if the corpus has none)."""

    id: str
    name: str
    definition: str = ""


@dataclass(frozen=True, slots=True)
class Corpus:
    """A corpus and its splits (keys: train, dev, test) and labels, in the order of the file."""

    name: str
    title: str
    source: str
    licence: str
    format: str
    splits: dict[str, Split]
    labels: tuple[Label, ...]

    def gold_file(self, split: str) -> Path:
        """The file with a split's gold records."""
        return GOLD / self.name / f"{split}.jsonl"


def load_corpus(name: str) -> Corpus:
    """Read ``data/corpora/<name>.yaml``.

    Raises:
        UserError: there is no such corpus, or its description has problems (all of them are reported).
    """
    path = CORPORA / f"{name}.yaml"
    names = sorted(p.stem for p in CORPORA.glob("*.yaml"))
    known = ", ".join(names) or "none (are you in the repository's root?)"
    if name not in names:
        raise UserError(f"{escaped(name)}: no such corpus; known: {known}")
    value = read_yaml(path, "see data/corpora/cluener.yaml")
    if problems := list(_problems(name, value)):
        raise UserErrors(f"{rooted(path)}: {problem}; see data/corpora/cluener.yaml" for problem in problems)
    splits = {key: Split(**part) for key, part in value["splits"].items()}
    labels = tuple(Label(key, **part) for key, part in value["labels"].items())
    return Corpus(**{**value, "splits": splits, "labels": labels})


def _problems(name: str, value: Any) -> Iterator[str]:
    """What is wrong in the description of a corpus, in words."""
    if not isinstance(value, dict):
        yield f"must be a mapping, not {one_line(value)}"
        return
    known = [field.name for field in fields(Corpus)]
    if missing := [key for key in known if value.get(key) in (None, "")]:
        yield f"lacks {', '.join(missing)}"
    for key, given in value.items():
        if key not in known:
            yield f"has an unknown {_quoted(key)}; known: {', '.join(known)}"
        elif key not in ("splits", "labels", *missing) and not isinstance(given, str):
            yield f"{key} must be text (quote it), not {one_line(given)}"
    if value.get("name", name) != name:
        yield f"`name: {_quoted(value['name'])}` must be `name: {name}`, like the file name"
    if value.get("format") and value["format"] not in format_names():
        yield f"unknown format {one_line(value['format'])}; known: {', '.join(format_names())}"
    for key, kind in (("splits", Split), ("labels", Label)):
        parts = value.get(key)
        if isinstance(parts, dict) and parts:
            for part, given in parts.items():
                yield from _part_problems(f"{key}: {_quoted(part)}", kind, given)
        elif parts is not None:
            yield f"{key} must be a mapping with at least one entry"
    if isinstance(value.get("splits"), dict) and (unknown := set(value["splits"]) - set(SPLITS)):
        yield f"unknown splits {', '.join(sorted(map(_quoted, unknown)))}; use {', '.join(SPLITS)}"
    if isinstance(value.get("labels"), dict):
        yield from _label_problems(value["labels"])


def _part_problems(where: str, kind: type[Split] | type[Label], given: Any) -> Iterator[str]:
    """What is wrong in the description of a split or a label."""
    known = {field.name: field for field in fields(kind) if field.name != "id"}
    if not isinstance(given, dict):
        yield f"{where} must be a mapping of {', '.join(known)}, not {one_line(given)}"
        return
    if missing := [key for key, field in known.items() if field.default is MISSING and key not in given]:
        yield f"{where} lacks {', '.join(missing)}"
    for key, value in given.items():
        if key not in known:
            yield f"{where} has an unknown {_quoted(key)}; known: {', '.join(known)}"
        elif not isinstance(value, known[key].type):  # type: ignore[arg-type]
            wanted = "true or false" if known[key].type is bool else "text (quote it)"
            yield f"{where}: {key} must be {wanted}, not {one_line(value)}"
        elif isinstance(value, str) and key in _RULES and not _RULES[key][0](value):
            yield f"{where}: {key} must be {_RULES[key][1]}, not {one_line(value)}"


def _label_problems(labels: dict[Any, Any]) -> Iterator[str]:
    """What is wrong with the ids of the labels, which are part of the instruction."""
    for label in labels:
        if not isinstance(label, str):
            yield f"labels: {one_line(label)} must be text (quote it)"
        elif not _is_line(label):
            yield f"labels: {one_line(label)} must be {_LINE}"
    texts = [
        text for key, part in labels.items() for text in (key, part.get("name") if isinstance(part, dict) else "")
    ]
    for text in texts:
        if isinstance(text, str) and escape(text) != text:
            yield f"labels: {one_line(text)} looks like a control token of a model; write it differently"


def _quoted(key: Any) -> str:
    """A key as it is written, on one line."""
    return escaped(key) if isinstance(key, str) else one_line(key)


def _is_line(text: str) -> bool:
    return bool(text) and text == text.strip() and is_plain(text)


def _is_inside(name: str) -> bool:
    path = PurePosixPath(name)
    return _is_line(name) and path.name != "" and not path.is_absolute() and ".." not in path.parts


_LINE = "one line of text, without control characters or white space around it"
# Per key of a split or label: whether its text is right, and what it must be.
_RULES: dict[str, tuple[Callable[[str], object], str]] = {
    "file": (_is_inside, "a name inside the raw folder"),
    "url": (re.compile(r"https?://[^\s/]\S*").fullmatch, "an address that starts with http:// or https://"),
    "sha256": (re.compile(r"[0-9a-fA-F]{64}").fullmatch, "64 hexadecimal digits"),
    "name": (_is_line, _LINE),
    "definition": (lambda text: printable(text) == text, "text without control characters"),
}
