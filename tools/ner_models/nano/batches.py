"""nano's training batches: generated samples as token ids, with their answers and the tags of their sentences."""

import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from ner_models.nano import text
from ner_models.nano.tokenizer import END_OF_TURN

BATCH_TOKENS = 2048  # of prompts and answers, padding included


@dataclass(frozen=True, slots=True)
class Row:
    """Token ids of a prompt with its answer, which begins at ``start``; ``tags`` are (position, class) of the sentence."""

    ids: list[int]
    start: int
    tags: tuple[tuple[int, int], ...] = ()


def encoded(tokenizer: Any, rng: random.Random, level: text.Difficulty | None, count: int) -> list[Row]:
    """``count`` samples of a level as token ids; no level means plain copying."""
    if level is None:
        return [_copy(tokenizer, rng) for _ in range(count)]
    samples = [text.sample(rng, level) for _ in range(count)]
    turns = [s.spec.messages(s.record.text) for s in samples]
    prompts = [tokenizer.apply_chat_template(t, tokenize=False, add_generation_prompt=True) for t in turns]
    asked = tokenizer(prompts, add_special_tokens=False, return_offsets_mapping=True)
    answered = tokenizer([s.spec.render(s.record) + END_OF_TURN for s in samples], add_special_tokens=False)[
        "input_ids"
    ]
    return [
        Row(ids + answer, len(ids), _tags(sample, prompt, offsets))
        for sample, prompt, ids, offsets, answer in zip(
            samples, prompts, asked["input_ids"], asked["offset_mapping"], answered, strict=True
        )
    ]


def _tags(sample: text.Sample, prompt: str, offsets: list[tuple[int, int]]) -> tuple[tuple[int, int], ...]:
    """The class of each token of the sentence: 0 outside mentions; for kind k, 1 + 2k inside a mention and 2 + 2k at its end."""
    begin = prompt.rindex(sample.record.text)
    classes = [0] * len(sample.record.text)
    for start, end, kind in sample.mentions:
        classes[start:end] = [1 + 2 * kind] * (end - start - 1) + [2 + 2 * kind]
    places = ((place, last - 1 - begin) for place, (_, last) in enumerate(offsets))
    return tuple((place, classes[at]) for place, at in places if 0 <= at < len(classes))


def _copy(tokenizer: Any, rng: random.Random) -> Row:
    """A random run of tokens, then a part of it again: from that part's second token on, the next is known."""
    first = [rng.randrange(256, tokenizer.vocab_size) for _ in range(rng.randrange(6, 33))]
    begin = rng.randrange(len(first) - 3)
    return Row([*first, tokenizer.eos_token_id, *first[begin:]], len(first) + 2)


def batches(tokenizer: Any, rng: random.Random, level: text.Difficulty | None) -> Iterator[list[Row]]:
    """Batches of at most BATCH_TOKENS, rows of similar length together; endless."""
    while True:
        rows = sorted(encoded(tokenizer, rng, level, 1024), key=lambda row: len(row.ids))
        made: list[list[Row]] = [[]]
        for row in rows:
            if (len(made[-1]) + 1) * len(row.ids) > BATCH_TOKENS:
                made.append([])
            made[-1].append(row)
        rng.shuffle(made)
        yield from made
