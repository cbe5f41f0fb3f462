"""How many tokens the batches of a training will have, by the records of its training file.

A record is a prompt that all records share, and its rest: sentence and answer. Without the model's tokenizer, tokens
are estimated from characters. Measured on 2026-11-29 with the tokenizer of Qwen2.5 (Qwen3's is the same for this text)
over both whole training files: CLUENER 0.470 tokens per character of the instruction, 0.671 of a sentence, 0.327 of an
answer (json_list); TCM 0.591, 0.798, 0.405. Both are averaged here, so totals of either are off by up to 12 %.
"""

import random
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import msgspec

from ner_common.files import read_json

PER_CHARACTER = (0.53, 0.73, 0.37)  # tokens: instruction, sentence, answer
PROMPT_MARKS, REST_MARKS = 8, 7  # tokens of Qwen's chat template before the sentence, and after it
BYTES = 1 << 30  # of a training file
# Stand-in for a training file that does not exist yet: every twentieth quantile of CLUENER's sentences and answers.
RECORDS, PROMPT = 10_748, 119
SENTENCES = (2, 10, 13, 16, 18, 20, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31, 32, 33, 35, 37, 50)
ANSWERS = (11, 12, 12, 13, 13, 14, 16, 19, 21, 21, 22, 24, 26, 29, 30, 32, 34, 38, 42, 50, 114)


class _Record(msgspec.Struct):
    instruction: str = ""
    input: str = ""
    output: str = ""
    system: str | None = None


class Lengths(NamedTuple):
    """Tokens: of the shared prompt, of each record's rest, and those of them that carry the loss; and how counted."""

    prompt: int
    rests: list[int]
    labels: list[int]
    counted: str


class Batch(NamedTuple):
    """What one forward pass computes: tokens with padding, labels, records, their prompt and their longest rest."""

    tokens: int
    labels: int
    records: int
    prompt: int
    longest: int


def lengths(paths: Sequence[Path], tokenizer: Path | None) -> Lengths:
    """The lengths of the records of training files (alpaca), those that exist.

    Args:
        paths: the training files.
        tokenizer: the model's ``tokenizer.json``; None: estimate tokens from characters.

    Raises:
        UserError: a file is not a training file.
    """
    records = [
        record
        for path in paths
        if path.is_file()
        for record in read_json(path, "run `make data` again", list[_Record], BYTES)
    ]
    if not records:
        pairs = list(zip(SENTENCES, _shuffled(ANSWERS, 0), strict=True))
        rests = [sum(pairs[index % len(pairs)]) + REST_MARKS for index in range(RECORDS)]
        labels = [pairs[index % len(pairs)][1] + 1 for index in range(RECORDS)]
        return Lengths(PROMPT + PROMPT_MARKS, rests, labels, "no training file yet: as in CLUENER")
    prompts = sorted({(record.system or "") + record.instruction for record in records}, key=len)
    sentences, answers = [record.input for record in records], [record.output for record in records]
    if tokenizer:
        from tokenizers import Tokenizer

        encoder = Tokenizer.from_file(str(tokenizer))
        counts = [[len(item.ids) for item in encoder.encode_batch(texts)] for texts in (prompts, sentences, answers)]
        counted = "counted with the model's tokenizer"
    else:
        texts = (prompts, sentences, answers)
        counts = [[round(len(t) * per) for t in part] for part, per in zip(texts, PER_CHARACTER, strict=True)]
        counted = "estimated from characters with Qwen's tokens"
    rests = [before + answer + REST_MARKS for before, answer in zip(counts[1], counts[2], strict=True)]
    return Lengths(counts[0][-1] + PROMPT_MARKS, rests, [answer + 1 for answer in counts[2]], counted)


def batches(of: Lengths, size: int, count: int, shared: bool, cutoff: int, seed: int) -> tuple[Batch, Batch]:
    """The largest and the mean of the first ``count`` batches in a seeded order; the order of the training differs.

    Args:
        of: the lengths of the records that are trained on.
        size: records per batch.
        count: batches.
        shared: whether the prompt is computed once per batch (`llamafactory_ner.shared_rows`); else rows are padded.
        cutoff: tokens of a record at most.
        seed: of the order.
    """
    found = list[Batch]()
    order = list(range(len(of.rests)))
    draw = random.Random(seed)
    while len(found) < count:
        draw.shuffle(order)
        for start in range(0, len(order), size):
            part = order[start : start + size]
            rests = [min(of.rests[index], max(cutoff - of.prompt, 1)) for index in part]
            prompt, longest = min(of.prompt, cutoff), max(rests)
            tokens = prompt + sum(rests) if shared else len(part) * (prompt + longest)
            found.append(Batch(tokens, sum(of.labels[index] for index in part), len(part), prompt, longest))
    found = found[: max(count, 1)]
    mean = Batch(*(round(sum(values) / len(found)) for values in zip(*found, strict=True)))
    return max(found), mean


def _shuffled(values: Sequence[int], seed: int) -> list[int]:
    order = list(values)
    random.Random(seed).shuffle(order)
    return order
