"""Answered sentences for the tests of scores and intervals, without files."""

import random
from pathlib import Path

from ner_data.alignment import align
from ner_data.gold import Entity, Mention, Parsed, Record
from ner_data.prompt import PromptSpec
from ner_eval.metrics.loaded_run import Answered, LoadedRun
from ner_eval.runs.manifest import Manifest

LABELS = ("a", "b")
PROMPT = PromptSpec("demo", "", "", LABELS, "json_list", 8)
MANIFEST = Manifest(1, "m", (), "demo", "test", "gold.jsonl", "0", PROMPT, {}, {}, {})


def loaded(answered: list[Answered]) -> LoadedRun:
    """A run of these sentences, as `load_run` gives it."""
    return LoadedRun(Path("run"), MANIFEST, LABELS, tuple(answered), 0, 0)


def example(count_of: int = 40) -> list[Answered]:
    """Sentences with two entities each, of which most are found with the right label."""
    rng = random.Random(0)
    items = []
    for number in range(count_of):
        record = Record(f"r-{number}", "甲乙丙", (Entity(0, 1, "a", "甲"), Entity(1, 2, "b", "乙")))
        mentions = tuple(Mention(e.label if rng.random() < 0.8 else "a", e.text) for e in record.gold)
        items.append(Answered(record, "", Parsed(mentions), tuple(align(mentions, record.text)), False))
    return items
