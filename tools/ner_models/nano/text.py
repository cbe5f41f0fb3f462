"""nano's pretraining text: the general skill behind extraction, on our own labels and words.

A sample is a real prompt with a label set, a sentence, and the answer. The model should learn the rule, not the
words: most words are random characters with an ending typical of their kind, every sample has a new label set, and a
sentence may mention kinds that were not asked for. Its ending or its context always reveals the kind of a mention.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass

from ner_data import demo
from ner_data.answers import json_list
from ner_data.gold import Entity, Record
from ner_data.prompt import SYSTEM, PromptSpec, instruction
from ner_models.nano import text_words as words
from ner_models.nano.tokenizer import common_characters

HAN = [character for character in common_characters() if "\u4e00" <= character <= "\u9fff"]
# Half of the random words use characters that also occur in contexts: no character reveals whether it is in a word.
FREQUENT = sorted({c for c in "".join([*words.BEFORE, *words.AFTER, *words.FILLERS, words.TYPES]) if c in set(HAN)})
LATIN = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
MARKS = ["“”", "「」", "『』", "《》", "【】", "（）", '""', "〈〉"]
Span = tuple[str, "Kind"]


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of entity: its label in the prompt (id, Chinese name), how its words end and what surrounds them."""

    id: str
    name: str
    endings: tuple[str, ...]
    before: tuple[str, ...]
    after: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Difficulty:
    """How hard samples are: the curriculum of the pretraining raises it."""

    labels: int  # maximum number of labels asked for
    clauses: int  # maximum number of clauses in a sentence
    word: int  # maximum number of random characters in a word


EASY, MIDDLE, FULL = Difficulty(3, 2, 3), Difficulty(6, 3, 3), Difficulty(10, 4, 4)


def kinds() -> list[Kind]:
    """The kinds, one per row of TYPES."""
    rows = [[cell.split() for cell in line.split("|")] for line in words.TYPES.strip().split("\n")]
    return [Kind(row[0][0], row[1][0], *(tuple(cell) for cell in row[2:])) for row in rows]


KINDS = kinds()
_HELD_OUT = {surface for split in demo.lexicon().values() for surfaces in split.values() for surface in surfaces}


def _characters(rng: random.Random, size: int) -> str:
    """A random word: mostly Chinese characters, sometimes letters and digits, rarely other ideographs."""
    draw = rng.random()
    if draw < 0.94:
        return "".join(rng.choices(HAN if draw < 0.75 else FREQUENT, k=size))
    if draw < 0.99:
        return "".join(rng.choices(LATIN, k=size))
    return "".join(chr(rng.randrange(0x4E00, 0x9FA5)) for _ in range(size))


def _surface(kind: Kind, rng: random.Random, longest: int) -> tuple[str, bool]:
    """A mention of a kind, and whether its form alone reveals the kind (if not, its context must)."""
    size = rng.randrange(1, longest + 1)
    draw = rng.random()
    if draw < 0.6:
        surface = _characters(rng, size) + rng.choice(kind.endings)
    elif draw < 0.75:
        surface = rng.choice(kind.endings) + _characters(rng, size) + rng.choice(kind.endings)
    else:
        surface = _characters(rng, size + 1)
    if rng.random() < 0.12:
        marks = rng.choice(MARKS)
        surface = marks[0] + surface + marks[1]
    return (surface, draw < 0.75) if surface not in _HELD_OUT else _surface(kind, rng, longest)


def _filler(rng: random.Random) -> str:
    return "".join(rng.choices(words.FILLERS, k=rng.randrange(1, 4)))


def _clause(asked: Sequence[Kind], rng: random.Random, longest: int) -> list[str | Span]:
    """A clause as a list of plain text and (surface, kind)."""
    kind = rng.choice(asked)
    surface, telling = _surface(kind, rng, longest)
    plain = telling and rng.random() < 0.4
    before = rng.choice(words.BEFORE if plain else kind.before)
    after = rng.choice(words.AFTER if plain else kind.after)
    parts: list[str | Span] = [before, (surface, kind)]
    draw = rng.random()
    if draw < 0.2:
        other = _surface(kind, rng, longest)[0]
        parts += [rng.choice(words.JOINTS), (other, kind)]
    elif draw < 0.45:
        for _ in range(rng.choice((1, 1, 2))):
            touching = rng.choice(asked)
            parts.append((touching_surface(touching, rng, longest), touching))
    parts.append(after)
    if rng.random() < 0.3:
        parts.insert(0, _filler(rng))
    if rng.random() < 0.2:
        parts.append(_filler(rng))
    if rng.random() < 0.15:
        parts = parts[1:] if isinstance(parts[0], str) else parts  # a sentence may begin with a mention
    return parts


def touching_surface(kind: Kind, rng: random.Random, longest: int) -> str:
    """A mention whose form reveals its kind: only such mentions may directly follow each other."""
    surface, telling = _surface(kind, rng, longest)
    return surface if telling else touching_surface(kind, rng, longest)


def _parts(present: Sequence[Kind], level: Difficulty, rng: random.Random) -> list[str | Span]:
    """A sentence as a list of plain text and (surface, kind)."""
    parts: list[str | Span] = []
    for number in range(rng.randrange(1, level.clauses + 1)):
        if number:
            parts.append(rng.choice(words.SEPARATORS))
        mentions = [part for part in parts if isinstance(part, tuple)]
        if mentions and rng.random() < 0.15:
            again = rng.choice(mentions)
            parts += [rng.choice(words.BEFORE), again, rng.choice(words.AFTER)]
        elif present and rng.random() > 0.08:
            parts += _clause(present, rng, level.word)
        else:
            parts.append(_filler(rng))
    parts.append(rng.choice(words.ENDINGS))
    return parts


def _labels(level: Difficulty, rng: random.Random) -> list[Kind]:
    """The label set: kinds with distinct ids and names, in any order."""
    chosen: dict[str, Kind] = {}
    names: set[str] = set()
    size = rng.randrange(1, level.labels + 1)
    while len(chosen) < size:
        kind = rng.choice(KINDS)
        if kind.id not in chosen and kind.name not in names:
            chosen[kind.id] = kind
            names.add(kind.name)
    return list(chosen.values())


@dataclass(frozen=True, slots=True)
class Sample:
    """The prompt spec with its label set, the sentence with its gold entities, and everything it mentions, asked for or
    not, as (start, end, index of the kind in KINDS)."""

    spec: PromptSpec
    record: Record
    mentions: tuple[tuple[int, int, int], ...]


def sample(rng: random.Random, level: Difficulty = FULL) -> Sample:
    """Generate one sample."""
    asked = _labels(level, rng)
    others = [kind for kind in (rng.choice(KINDS) for _ in range(2)) if kind.name not in {a.name for a in asked}]
    draw = rng.random()
    # Mostly kinds that were asked for; sometimes others too; sometimes only others, and then the answer is empty.
    present = asked if draw < 0.86 else [*asked, *others] if draw < 0.94 else others
    text, entities, mentions = "", [], []
    for part in _parts(present, level, rng):
        surface = part if isinstance(part, str) else part[0]
        if not isinstance(part, str):
            mentions.append((len(text), len(text) + len(surface), KINDS.index(part[1])))
        if not isinstance(part, str) and part[1] in asked:
            entities.append(Entity(len(text), len(text) + len(surface), part[1].id, surface))
        text += surface
    labels = [(kind.id, kind.name) for kind in asked]
    form = json_list.NAME
    spec = PromptSpec("nano", SYSTEM, instruction(labels, form), tuple(label for label, _ in labels), form, 256)
    return Sample(spec, Record("nano", text, tuple(entities)), tuple(mentions))
