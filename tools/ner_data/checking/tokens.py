"""Lengths in tokens of a model's tokenizer: the prompt of a corpus, the text and the answer."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from ner_common.errors import UserError, escaped, rooted
from ner_common.parallel import chunks
from ner_data.alpaca import spec_file
from ner_data.checking.places import Places
from ner_data.checking.report import MOST, Finding, Found
from ner_data.gold import Record, pieces, records_of
from ner_data.prompt import PromptSpec

_BATCH = 5000


class Lengths:
    """Counts tokens with the ``tokenizer.json`` of a folder.

    Attributes:
        tokenizer: the folder.
        of: what is counted.
        fixed: tokens of the system text and instruction, which all records of the corpus have in common.
    """

    def __init__(self, folder: Path, corpus: str) -> None:
        """Read the tokenizer, and the corpus's prompt if it has one.

        Raises:
            UserError: there is no ``tokenizer.json``, it cannot be read, or the prompt spec is damaged.
        """
        self.tokenizer = str(folder)
        self._tokenizer = _load(folder)
        path = spec_file(corpus)
        self.spec = PromptSpec.load(path) if path.is_file() else None
        self.fixed = sum(self._count([self.spec.system, f"{self.spec.instruction}\n"])) if self.spec else 0
        self.of = f"prompt of {rooted(path)}, text and answer" if self.spec else "text alone"

    def _count(self, texts: list[str]) -> list[int]:
        encoded: Any = self._tokenizer.encode_batch_fast(texts, add_special_tokens=False)
        return [len(one) for one in encoded]

    def count(self, records: list[Record]) -> list[int]:
        """Tokens of records, without those that the chat template adds."""
        if not self.spec:
            return self._count([record.text for record in records])
        texts = self._count([self.spec.input(record.text) for record in records])
        answers = self._count(["" if record.entities is None else self.spec.render(record) for record in records])
        return [self.fixed + text + answer for text, answer in zip(texts, answers, strict=True)]


def _load(folder: Path) -> Any:
    path = folder / "tokenizer.json"
    if not path.is_file():
        raise UserError(f"{rooted(path)}: no such file; name the folder of a model with --tokenizer DIR")
    try:
        from tokenizers import Tokenizer
    except ImportError:
        problem = "--tokenizer needs the package tokenizers, which is not installed here"
        raise UserError(f"{problem}; run `make check TOKENIZER=DIR CORPUS=…`, or use .venv-train") from None
    try:
        tokenizer = Tokenizer.from_file(str(path))
    except Exception as error:  # the library raises Exception itself
        raise UserError(f"{rooted(path)}: not a tokenizer ({escaped(str(error), 120)}); restore the file") from None
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


def count_tokens(
    lengths: Lengths, paths: dict[str, Path], places: Places, cutoff: int, tick: Callable[[int], object]
) -> Found:
    """Count the tokens of all records into their splits' figures; find those above ``cutoff`` (0: none)."""
    found = Found()
    longest: list[tuple[int, str, int]] = []
    for split, path in paths.items():
        figures, number = places.scans[split].figures, 0
        for piece in pieces(path):
            for batch in chunks(records_of(path, piece), _BATCH):
                counts = lengths.count(batch)
                figures.tokens.update(counts)
                if cutoff:
                    over = [(-count, split, number + at) for at, count in enumerate(counts) if count > cutoff]
                    figures.over += len(over)
                    longest = sorted([*longest, *over])[:MOST]
                number += len(batch)
                tick(len(batch))
        if figures.over:
            found.figures[split] = figures.over
            found.notes.append(f"{split}: {figures.over:,} of {figures.records:,} records exceed {cutoff:,} tokens")
    found.count = sum(found.figures.values())
    for count, split, number in longest:
        place = places.at(split, (number, 0, 0))
        found.findings.append(Finding(place.text, f"{-count:,} tokens", (place,)))
    return found
