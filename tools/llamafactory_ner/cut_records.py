"""Records longer than ``cutoff_len``, which llamafactory cuts in silence: counted while it encodes them.

The counts travel through the encoded data set as a column, since it may be encoded in several processes or come from
a cache: one row of each batch holds the batch's counts as JSON, the others hold "".
"""

import copy
import json
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import wraps
from typing import Any

from ner_common.decoding import decode_json

SOURCE, COUNTS = "_ner_source", "_ner_counts"  # column of the loaded data: the file; column of the encoded data
IGNORED = -100  # the label id that carries no loss


@dataclass(slots=True)
class Lengths:
    """What became of a data set's records: counts, and the tokens of the longest."""

    read: int = 0
    left_out: int = 0
    cut: int = 0
    without_answer: int = 0
    longest: int = 0

    def add(self, other: "Lengths") -> None:
        self.read += other.read
        self.left_out += other.left_out
        self.cut += other.cut
        self.without_answer += other.without_answer
        self.longest = max(self.longest, other.longest)


def problems(counts: dict[str, Lengths], data_args: Any) -> list[str]:
    """What a user must know of the encoded data sets, one line each."""
    packing = 1 if data_args.packing else 0  # the host takes one token off cutoff_len then
    lines = []
    for name, found in counts.items():
        of = f"of {found.read:,} records"
        if found.cut:
            gone = f" ({found.without_answer:,} of them lose the whole answer)" if found.without_answer else ""
            lines.append(
                f"{name}: {found.cut:,} {of} have more tokens than cutoff_len allows ({data_args.cutoff_len:,}) and "
                f"are cut{gone}; set cutoff_len={found.longest + packing}, or shorten the texts"
            )
        if found.left_out:
            lines.append(f"{name}: {found.left_out:,} {of} are left out: they lack a question or an answer")
    return lines


def counting(original: Callable[..., Any]) -> Callable[..., Any]:
    """Wrap `preprocess_dataset` of a supervised processor: the same batch, with the column `COUNTS`."""

    @wraps(original)
    def preprocess_dataset(self: Any, examples: dict[str, list[Any]]) -> Any:
        if SOURCE not in examples:
            return original(self, examples)
        batch: dict[str, Lengths] = {}
        encoded = []
        for name, prompt, response in zip(examples[SOURCE], examples["_prompt"], examples["_response"], strict=True):
            counts = batch.setdefault(name, Lengths())
            counts.read += 1
            if len(prompt) % 2 == 1 and len(response) == 1:  # else the host leaves the record out
                encoded.append(counts)
            else:
                counts.left_out += 1
        self._encode_data_example = Encoder(self, iter(encoded))
        try:
            outputs = original(self, examples)
        finally:
            del self._encode_data_example
        rows = len(outputs["input_ids"])
        said = json.dumps({name: [getattr(c, field) for field in c.__slots__] for name, c in batch.items()})
        outputs[COUNTS] = ([said] + [""] * (rows - 1)) if rows else []
        return outputs

    return preprocess_dataset


class Encoder:
    """A processor's `_encode_data_example` that also counts: the next record belongs to the next of ``counts``.

    A record is encoded without a limit first. One that fits is the same with the limit, so only the others are
    encoded again.
    """

    def __init__(self, processor: Any, counts: Iterable[Lengths]) -> None:
        self.limited = copy.copy(processor)
        self.counts = iter(counts)
        self.whole, self.answer = copy.copy(processor), copy.copy(processor)
        self.whole.data_args, self.answer.data_args = (copy.copy(processor.data_args) for _ in range(2))
        self.whole.data_args.cutoff_len = sys.maxsize
        self.answer.data_args.train_on_prompt = False

    def __call__(self, **example: Any) -> tuple[list[int], list[int]]:
        counts = next(self.counts)
        ids, labels = self.whole._encode_data_example(**example)
        counts.longest = max(counts.longest, len(ids))
        if len(ids) <= self.limited.data_args.cutoff_len:
            return ids, labels
        counts.cut += 1
        _, answer = self.answer._encode_data_example(**example)
        ends = 1 if self.answer.template.efficient_eos else 0  # appended whatever is cut
        counts.without_answer += sum(label != IGNORED for label in answer) <= ends
        ids, labels = self.limited._encode_data_example(**example)
        return ids, labels


def counts_of(column: Iterable[str]) -> dict[str, Lengths]:
    """Add up the column `COUNTS`."""
    total: dict[str, Lengths] = {}
    for text in column:
        for name, numbers in decode_json(text, dict[str, list[int]]).items() if text else ():
            total.setdefault(name, Lengths()).add(Lengths(*numbers))
    return total
