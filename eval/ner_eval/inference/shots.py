"""Demonstrations for a model that was not trained on the task: ``ner-eval predict --shots K``.

Each record is asked with K records of the corpus's training split and their answers, the most similar one last, next
to its text. They stand where ``ner-data alpaca --demonstrations`` puts them, at the end of the instruction.
"""

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path

from ner_common.commands import tell
from ner_common.errors import UserError, rooted
from ner_data.demonstrations import Nearest, able, draw
from ner_data.described import Corpus
from ner_data.gold import Record, read_gold
from ner_data.prompt import FILE_NAME, PromptSpec
from ner_eval.runs.manifest import Shots

METHODS = ("nearest", "fixed")
SpecFor = Callable[[str], PromptSpec]  # what a text is asked with


def shots_of(corpus: Corpus, count: int, method: str, seed: int) -> Shots | None:
    """Which demonstrations are shown, as a run's manifest says it; None if ``count`` is 0.

    Args:
        method, seed: see `Shots`.

    Raises:
        UserError: there is no such method, the corpus has no training split with gold, or it has not been converted.
    """
    if not count:
        return None
    if count < 0 or method not in METHODS:
        raise UserError(f"--shots {count} --shots-from {method}: ask for 0 or more, from {' or '.join(METHODS)}")
    if "train" not in corpus.splits or not corpus.splits["train"].gold:
        raise UserError(f"{corpus.name}: has no training split with gold that --shots could show; leave --shots out")
    gold = corpus.gold_file("train")
    if not gold.is_file():
        raise UserError(f"{rooted(gold)}: no such file; run `make data CORPUS={corpus.name}`, or leave --shots out")
    checksum = hashlib.sha256(gold.read_bytes()).hexdigest()
    fixed = method == "fixed"
    return Shots(count, "fixed" if fixed else "nearest", seed if fixed else None, gold.as_posix(), checksum)


def specs(shots: Shots | None, spec: PromptSpec, corpus: Corpus, split: str, records: Sequence[Record]) -> SpecFor:
    """What each text is asked with: the prompt spec, completed with the shots.

    Args:
        records: all of the split; a training record with one of their texts would show an answer, and is left out.

    Raises:
        UserError: the spec shows demonstrations already, there are too few records to show, or see `draw`.
    """
    if not shots:
        return lambda text: spec
    try:
        spec.showing(())
    except ValueError as error:
        raise UserError(f"--shots {shots.count}: {error}; leave --shots out, or name another --prompt") from None
    train = list(read_gold(corpus.gold_file("train")))
    shown = able(train, {record.text for record in records})
    texts = len({record.text for record in shown})
    without = sum(record.entities is None for record in train)
    left_out = f"{len(train) - len(shown) - without} with a text of {split}, {without} without gold"
    if shots.count >= texts:
        raise UserError(
            f"{corpus.name}: --shots {shots.count}: its training split has {texts} different texts to choose from "
            f"(left out: {left_out}); ask for fewer"
        )
    tell(f"--shots {shots.count}: chosen from {len(shown)} records of train (left out: {left_out})")
    if shots.method == "fixed":
        drawn = spec.showing(draw(corpus, {"train": shown}, shots.count, shots.seed or 0))
        return lambda text: drawn
    nearest = Nearest(shown)
    return lambda text: spec.showing(nearest(text, shots.count))


def require_untrained(shots: Shots | None, folder: Path | None) -> None:
    """Refuse a model that was trained with a prompt of its own, which shots would change.

    Raises:
        UserError: its folder holds one.
    """
    if shots and folder and (folder / FILE_NAME).is_file():
        problem = f"the model was trained with the prompt in its {FILE_NAME}, which shows no shots"
        raise UserError(f"{rooted(folder)}: {problem}; leave --shots out, or use --allow-other-prompt to ask anyway")
