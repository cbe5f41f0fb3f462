"""Small corpora, written as `make data` leaves them, and the new ones read back."""

from collections.abc import Callable
from pathlib import Path

import pytest

from ner_data import Record, read_gold, write_gold
from ner_data.corpus import load_corpus, write_description
from ner_data.described import Corpus, Label, Split
from small_corpora import LABELS, record
from support import Result


@pytest.fixture
def corpus(workplace: Path) -> Callable[..., Corpus]:
    """Write a corpus: ``corpus("a", train=["[林晓|name]来了"], test=[…])``, with the ids a-train-1, …"""

    def write(name: str, labels: tuple[Label, ...] = LABELS, **splits: list[str]) -> Corpus:
        described = Corpus(
            name, f"Corpus {name}", f"source of {name}", f"licence of {name}", "gold",
            {split: Split(f"{split}.jsonl") for split in splits}, labels,
        )  # fmt: skip
        write_description(described)
        for split, lines in splits.items():
            records = [record(f"{name}-{split}-{n}", line, f"{split}.json:{n}") for n, line in enumerate(lines, 1)]
            write_gold(described.gold_file(split), records)
        return described

    return write


@pytest.fixture
def new(cli: Callable[..., Result]) -> Callable[[str], dict[str, list[Record]]]:
    """The raw records of a new corpus; it can be converted, and so has been made right."""

    def read(name: str) -> dict[str, list[Record]]:
        result = cli("ner-data", "convert", name)
        assert result.code == 0, result.err
        return {split: list(read_gold(Path(f"data/raw/{name}/{split}.jsonl"))) for split in load_corpus(name).splits}

    return read
