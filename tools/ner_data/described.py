"""What the description of a corpus holds; `ner_data.corpus` reads and writes descriptions."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

GOLD = Path("data/gold")


@dataclass(frozen=True, slots=True)
class Split:
    """One file of a corpus: its name in the raw folder, its URL, its SHA-256, and whether it has entities.

    ``url`` may be a list of addresses, tried in turn. ``tags`` is a second file, for formats that keep the tags apart.
    """

    file: str
    url: str | list[str] | None = None
    sha256: str | None = None
    gold: bool = True
    tags: str | None = None

    @property
    def urls(self) -> list[str]:
        """The addresses, in the order in which they are tried."""
        return [self.url] if isinstance(self.url, str) else self.url or []


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
    encoding: str = "utf-8"
    options: dict[str, Any] = field(default_factory=dict)
    nested: str = "keep"
    split_sentences: int = 0

    def gold_file(self, split: str) -> Path:
        """The file with a split's gold records."""
        return GOLD / self.name / f"{split}.jsonl"
