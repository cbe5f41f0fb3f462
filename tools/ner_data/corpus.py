"""What is known of a corpus: ``data/corpora/<name>.yaml``.

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
      name: {name: 姓名, definition: 人的名字}
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from ner_common.errors import UserError, rooted
from ner_common.files import read_text

CORPORA = Path("data/corpora")
GOLD = Path("data/gold")
RAW = Path("data/raw")
SPLITS = ("train", "dev", "test")


@dataclass(frozen=True, slots=True)
class Split:
    """One file of a corpus: its name in the raw folder, where it is published, and its checksum."""

    file: str
    url: str | None = None
    sha256: str | None = None
    gold: bool = True


@dataclass(frozen=True, slots=True)
class Label:
    """A label: the id that stands in gold and answers, its Chinese name, and what it covers."""

    id: str
    name: str
    definition: str


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
        return GOLD / self.name / f"{split}.jsonl"


def load_corpus(name: str) -> Corpus:
    """Read ``data/corpora/<name>.yaml``.

    Raises:
        UserError: there is no such corpus, or its description lacks something.
    """
    path = CORPORA / f"{name}.yaml"
    known = ", ".join(sorted(p.stem for p in CORPORA.glob("*.yaml"))) or "none (are you in the repository's root?)"
    if not path.is_file():
        raise UserError(f"{name}: no such corpus; known: {known}")
    try:
        value: Any = yaml.safe_load(read_text(path, f"known: {known}"))
    except yaml.YAMLError as error:
        problem = str(error).replace("\n", " ")
        raise UserError(f"{rooted(path)}: not YAML ({problem}); mend the file") from None
    try:
        splits = {key: Split(**fields) for key, fields in value["splits"].items()}
        labels = tuple(Label(str(key), **fields) for key, fields in value["labels"].items())
        texts = {key: str(value[key]) for key in ("name", "title", "source", "licence", "format")}
    except (AttributeError, KeyError, TypeError) as error:
        raise UserError(f"{rooted(path)}: incomplete or misspelt ({error}); see data/corpora/cluener.yaml") from None
    if unknown := set(splits) - set(SPLITS):
        raise UserError(f"{rooted(path)}: unknown splits {sorted(unknown)}; use {', '.join(SPLITS)}")
    if not labels or texts["name"] != name:
        raise UserError(f"{rooted(path)}: needs labels, and `name: {name}` as the file is called")
    return Corpus(**texts, splits=splits, labels=labels)
