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

from collections.abc import Iterator
from dataclasses import MISSING, dataclass, fields
from pathlib import Path
from typing import Any

import yaml

from ner_common.errors import UserError, UserErrors, one_line, rooted
from ner_common.files import read_text
from ner_data.formats import format_names

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
    known = ", ".join(sorted(p.stem for p in CORPORA.glob("*.yaml"))) or "none (are you in the repository's root?)"
    if not path.is_file():
        raise UserError(f"{name}: no such corpus; known: {known}")
    try:
        value: Any = yaml.safe_load(read_text(path, f"known: {known}"))
    except (yaml.YAMLError, ValueError) as error:  # ValueError: a date that does not exist
        problem = str(error).replace("\n", " ")
        raise UserError(f"{rooted(path)}: not YAML ({problem}); fix the file") from None
    if problems := list(_problems(name, value)):
        raise UserErrors(f"{rooted(path)}: {problem}; see data/corpora/cluener.yaml" for problem in problems)
    splits = {key: Split(**part) for key, part in value["splits"].items()}
    labels = tuple(Label(str(key), **part) for key, part in value["labels"].items())
    texts = {key: str(value[key]) for key in ("name", "title", "source", "licence", "format")}
    return Corpus(**texts, splits=splits, labels=labels)


def _problems(name: str, value: Any) -> Iterator[str]:
    """What is wrong in the description of a corpus, in words."""
    if not isinstance(value, dict):
        yield f"must be a mapping, not {one_line(value)}"
        return
    if missing := [field.name for field in fields(Corpus) if value.get(field.name) in (None, "")]:
        yield f"lacks {', '.join(missing)}"
    if str(value.get("name", name)) != name:
        yield f"`name: {value['name']}` must be `name: {name}`, like the file name"
    if value.get("format") and value["format"] not in format_names():
        yield f"unknown format {one_line(value['format'])}; known: {', '.join(format_names())}"
    for key, kind in (("splits", Split), ("labels", Label)):
        parts = value.get(key)
        if isinstance(parts, dict) and parts:
            for part, given in parts.items():
                yield from _part_problems(f"{key}: {part}", kind, given)
        elif parts is not None:
            yield f"{key} must be a mapping with at least one entry"
    if isinstance(value.get("splits"), dict) and (unknown := set(value["splits"]) - set(SPLITS)):
        yield f"unknown splits {', '.join(sorted(map(str, unknown)))}; use {', '.join(SPLITS)}"


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
            yield f"{where} has an unknown {key}; known: {', '.join(known)}"
        elif not isinstance(value, known[key].type):  # type: ignore[arg-type]
            wanted = "true or false" if known[key].type is bool else "text (quote it)"
            yield f"{where}: {key} must be {wanted}, not {one_line(value)}"
