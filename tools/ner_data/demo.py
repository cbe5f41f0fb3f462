"""The generated corpus ``demo``: Chinese sentences with the ten CLUENER labels, in CLUENER's own file format.

A line of ``train.json`` (offsets are inclusive at both ends, as in CLUENER)::

    {"text": "云帆科技市场总监林晓出席了签约仪式。", "label": {"company": {"云帆科技": [[0, 3]]},
        "position": {"市场总监": [[4, 7]]}, "name": {"林晓": [[8, 9]]}}}

Every surface belongs to one split, so memorising does not help; what carries over is how words are built (a stem and a
kind: 云帆 + 科技) and where they occur. The corpus demonstrates the pipeline; its scores say nothing about methods.
"""

import json
import random
import re
from collections.abc import Sequence
from pathlib import Path

from ner_common.files import write_together
from ner_data import demo_words as words

LABELS = {
    "address": "地址",
    "book": "书名",
    "company": "公司",
    "game": "游戏",
    "government": "政府",
    "movie": "电影",
    "name": "姓名",
    "organization": "组织机构",
    "position": "职位",
    "scene": "景点",
}
SIZES = {"train": 2000, "dev": 200, "test": 200}
SEED = 20260
EMPTY_SHARE = 0.09  # of the sentences, which have no entity
SURFACES = {"train": 1200, "dev": 150, "test": 150}  # at most, per label
SHARES = {"train": 0.8, "dev": 0.1, "test": 0.1}  # of the combinations that a label can form

Sample = tuple[str, list[tuple[int, int, str]]]  # text and (start, end exclusive, label), sorted by start
_SLOT = re.compile(r"\{([a-z]+)(\d?)\}")


def _product(first: str, second: str, joint: str = "") -> list[str]:
    return [a + joint + b for a in first.split() for b in second.split()]


def _deal(items: Sequence[str], rng: random.Random) -> dict[str, list[str]]:
    """Shuffle the distinct items and divide them among the splits; no item is in two splits."""
    shuffled = sorted(set(items))
    rng.shuffle(shuffled)
    dealt, start = {}, 0.0
    for split, share in SHARES.items():
        dealt[split] = shuffled[round(start * len(shuffled)) : round((start + share) * len(shuffled))]
        start += share
    return dealt


def _draw(rng: random.Random, size: int, *parts: Sequence[str]) -> list[str]:
    """``size`` words, each made of a random item of every part."""
    return ["".join(rng.choice(part) for part in parts) for _ in range(size)]


def _titles(rng: random.Random, size: int, titles: Sequence[str], endings: str, bare: bool) -> list[str]:
    """Titles in 《》; half end with a word typical of their kind, and with ``bare`` some of these lack the marks."""
    made = []
    for _ in range(size):
        title = rng.choice(titles)
        if rng.random() < 0.5:
            title = title[:2] + rng.choice(endings.split())
            made.append(title if bare and rng.random() < 0.5 else f"《{title}》")
        else:
            made.append(f"《{title}》")
    return made


def lexicon() -> dict[str, dict[str, list[str]]]:
    """Surfaces by split and label; no surface is in two splits."""
    rng = random.Random(SEED)
    brands = _deal(_product(words.BRAND_FIRST, words.BRAND_SECOND), rng)
    places = _deal(_product(words.PLACE_FIRST, words.PLACE_SECOND), rng)
    given = words.GIVEN.split()
    people = _deal([s + g for s in words.SURNAMES.split() for g in given + _product(words.GIVEN, words.GIVEN)], rng)
    foreign = _deal(_product(words.FOREIGN, words.FOREIGN, "·"), rng)
    jobs = _deal([grade + job for grade in [*words.JOB_GRADES.split(), ""] for job in words.JOBS.split()], rng)
    posts = _product(words.DOMAINS, words.TITLES)
    offices = _deal([grade + post for grade in [*words.GRADES.split(), ""] for post in posts], rng)
    joints = [*words.TITLE_JOINTS.split(), ""]
    titles = _deal([t for joint in joints for t in _product(words.TITLE_FIRST, words.TITLE_SECOND, joint)], rng)
    found: dict[str, dict[str, list[str]]] = {}
    taken: set[str] = set()
    for split, size in SURFACES.items():
        place, brand, title = places[split], brands[split], titles[split]
        numbers = [f"{n}号" for n in range(1, 300)]
        kinds, levels = words.ADDRESS_KINDS.split(), words.GOVERNMENT_LEVELS.split()
        address = _draw(rng, size // 3, place, kinds)
        address += _draw(rng, size // 3, place, levels, place, ["路", "街", "镇", "村"])
        address += _draw(rng, size // 3, place, ["路", "街", "大道"], numbers)
        made = {
            "address": address,
            "book": _titles(rng, size, title, words.BOOK_ENDINGS, bare=False),
            "company": _draw(rng, size, brand, words.COMPANY_KINDS.split()),
            "game": _titles(rng, size, title, words.GAME_ENDINGS, bare=True),
            "government": _draw(rng, size, place, levels, words.GOVERNMENT_KINDS.split()),
            "movie": _titles(rng, size, title, words.MOVIE_ENDINGS, bare=False),
            "name": rng.sample(people[split], size) + foreign[split][: size // 8],
            "organization": _draw(rng, size, place + brand, words.ORGANIZATION_KINDS.split()),
            "position": offices[split][:size] + jobs[split][:size],
            "scene": _draw(rng, size, place, words.SCENE_KINDS.split()),
        }
        # Different parts may form a surface that an earlier split has.
        found[split] = {label: [s for s in dict.fromkeys(made[label]) if s not in taken] for label in made}
        taken.update(surface for surfaces in found[split].values() for surface in surfaces)
    return found


def _fill(template: str, pools: dict[str, list[str]], rng: random.Random) -> Sample:
    """Fill the slots of a template with surfaces; a numbered slot gets the same surface each time."""
    text, end = "", 0
    spans: list[tuple[int, int, str]] = []
    named: dict[str, str] = {}
    for slot in _SLOT.finditer(template):
        text += template[end : slot.start()]
        surface = named[slot[0]] if slot[0] in named else rng.choice(pools[slot[1]])
        if slot[2]:
            named[slot[0]] = surface
        spans.append((len(text), len(text) + len(surface), slot[1]))
        text, end = text + surface, slot.end()
    return text + template[end:], spans


def _empty(rng: random.Random) -> str:
    """A sentence without any entity."""
    rows = {"time": words.EMPTY_TIME, "thing": words.EMPTY_THING, "state": words.EMPTY_STATE}
    template = rng.choice(words.EMPTY_TEMPLATES.strip().split("\n"))
    return _SLOT.sub(lambda m: str(rng.randrange(2, 90)) if m[1] == "n" else rng.choice(rows[m[1]].split()), template)


def _sentence(pools: dict[str, list[str]], rng: random.Random) -> Sample:
    spans: list[tuple[int, int, str]] = []
    if rng.random() < EMPTY_SHARE:
        text = _empty(rng)
    else:
        text, spans = _fill(rng.choice(templates()), pools, rng)
        if len(text) < 16 and rng.random() < 0.4:
            second, more = _fill(rng.choice(templates()), pools, rng)
            spans += [(start + len(text) + 1, end + len(text) + 1, label) for start, end, label in more]
            text = f"{text}，{second}"
    opening = rng.choice(words.OPENINGS.split()) if rng.random() < 0.3 else ""
    closing = rng.choice(words.CLOSINGS.split()) if rng.random() < 0.15 else ""
    text = opening + text + closing + rng.choice(["。", "。", "。", "", "！"])
    return text, [(start + len(opening), end + len(opening), label) for start, end, label in spans]


def templates() -> list[str]:
    """The sentence templates with entity slots."""
    return words.TEMPLATES.strip().split("\n")


def sentences() -> dict[str, list[Sample]]:
    """The sentences of each split; no text is repeated, within a split or across splits."""
    found: dict[str, list[Sample]] = {}
    taken: set[str] = set()
    words_of = lexicon()
    for split, size in SIZES.items():
        rng = random.Random(f"{SEED}-{split}")
        found[split] = []
        while len(found[split]) < size:
            text, spans = _sentence(words_of[split], rng)
            if text not in taken:
                found[split].append((text, spans))
                taken.add(text)
    return found


def _as_cluener(text: str, spans: Sequence[tuple[int, int, str]]) -> str:
    label: dict[str, dict[str, list[list[int]]]] = {}
    for start, end, name in spans:
        label.setdefault(name, {}).setdefault(text[start:end], []).append([start, end - 1])
    return json.dumps({"text": text, "label": label}, ensure_ascii=False)


def write_demo(directory: Path) -> dict[str, int]:
    """Write train.json, dev.json and test.json into a folder and return the number of sentences of each split."""
    with write_together() as write:
        for split, samples in sentences().items():
            with write(directory / f"{split}.json") as file:
                file.writelines(_as_cluener(text, spans) + "\n" for text, spans in samples)
    return dict(SIZES)
