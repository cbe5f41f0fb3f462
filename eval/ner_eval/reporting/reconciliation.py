"""How the counts of a report add up: for each table, equations with the actual numbers.

The page shows three ways of counting side by side. A protocol counts hits and misses (text: each label and surface
once per sentence; span: every mention). The error classes and the confusion matrix pair mentions one to one, by
position. nervaluate's modes pair them too, but in the order of the text. A sum is [key of strings.json, its numbers].
"""

from collections.abc import Mapping
from typing import Any

from ner_eval.metrics.counts import Counts, ModeCounts
from ner_eval.metrics.protocols import SPAN, TEXT
from ner_eval.metrics.results import Answers, MentionCounts

Sum = list[Any]


def of_protocol(key: str, total: Counts, mentions: MentionCounts) -> list[Sum]:
    """How a protocol's total counts follow from the mentions."""
    gold, predicted = total.tp + total.fn, total.tp + total.fp
    numbers = {"tp": total.tp, "fp": total.fp, "fn": total.fn, "gold": gold, "predicted": predicted}
    numbers |= {"all_gold": mentions.gold, "all_predicted": mentions.predicted}
    less = {"less_gold": mentions.gold - gold, "less_predicted": mentions.predicted - predicted}
    partly = "sum_repeats" if key == TEXT.counted_as else "sum_some"
    whole = "sum_no_repeats" if key == TEXT.counted_as else "sum_every"
    explained = partly if any(less.values()) else whole
    return [["sum_counted", numbers], [explained, numbers | less]]


def of_classes(classes: Mapping[str, int], correct: int, mentions: MentionCounts) -> list[Sum]:
    """Every predicted mention, and every gold mention, is in one class."""
    numbers = {**classes, "correct": correct, "gold": mentions.gold, "predicted": mentions.predicted}
    span = {**numbers, "fp": mentions.predicted - correct, "fn": mentions.gold - correct, "protocol": SPAN.name}
    return [["sum_classes_predicted", numbers], ["sum_classes_gold", numbers], ["sum_classes_span", span]]


def of_confusion(cells: list[list[int]], classes: Mapping[str, int], correct: int) -> list[Sum]:
    """What the diagonal, the last row, the last column and the rest of the confusion matrix consist of."""
    diagonal = sum(row[index] for index, row in enumerate(cells[:-1]))
    missed = sum(row[-1] for row in cells)
    unpaired = sum(cells[-1])
    between = sum(map(sum, cells)) - diagonal - missed - unpaired
    numbers = {"diagonal": diagonal, "between": between, "unpaired": unpaired, "correct": correct}
    return [["sum_confusion", {**classes, **numbers}]]


def of_groups(mentions: MentionCounts, correct: int) -> list[Sum]:
    numbers = {"gold": mentions.gold, "predicted": mentions.predicted, "correct": correct, "protocol": SPAN.name}
    return [["sum_groups", numbers]]


def of_modes(strict: ModeCounts, classes: Mapping[str, int], correct: int, mentions: MentionCounts) -> list[Sum]:
    """The modes' rows, and why their figures differ from those of the error classes."""
    together = classes["spurious"] + classes["hallucinated"]
    numbers = {"gold": mentions.gold, "predicted": mentions.predicted, "mode_spurious": strict.spurious}
    numbers |= {**classes, "together": together, "mode_correct": strict.correct, "correct": correct}
    sums: list[Sum] = [["sum_modes", numbers], ["sum_modes_spurious", numbers]]
    if (strict.correct, strict.spurious) != (correct, together):
        sums.append(["sum_modes_order", numbers])
    return sums


def of_sentences(sentences: int, wrong: int, form_only: int) -> list[Sum]:
    """Right and wrong sentences; in ``form_only`` of the wrong ones, only the form of the answer is wrong."""
    numbers = {"sentences": sentences, "right": sentences - wrong, "wrong": wrong, "form": form_only}
    return [["sum_sentences", numbers], *([["sum_sentences_form", numbers]] if form_only else [])]


def of_answers(answers: Answers) -> list[Sum]:
    parts = {"scored": answers.scored, "missing": answers.missing, "without_gold": answers.without_gold}
    return [["sum_answers", {**parts, "asked": sum(parts.values())}]]


def of_comparison(sentences: int, both: int, fixed: int, broken: int, one: str, other: str) -> list[Sum]:
    """Sentences that both runs get right, only one of them, or neither."""
    numbers = {"n": sentences, "both": both, "fixed": fixed, "broken": broken, "one": one, "other": other}
    return [["sum_compared", {**numbers, "neither": sentences - both - fixed - broken}]]
