"""Score stored answers: ``ner-eval score RUN`` prints the label table and writes the counts to ``scores.json``.

Protocols:

- ``text``      per sentence the set of (label, surface); the headline is the micro F1
- ``span``      every mention counts, with its offsets and label; the headline is the micro F1
- ``official``  CLUENER's own score: the macro F1 of the protocol text over the corpus's labels
- ``modes``     nervaluate's strict, exact, partial and type

Readings: ``lenient`` takes the complete items of an answer that is not exactly the form (a code fence, a list that was
cut off); ``strict`` takes such an answer as one without mentions.
"""

import argparse
from collections.abc import Iterator
from typing import Any

from ner_data.errors import rooted
from ner_eval import load
from ner_eval.scores import READINGS, SCORES, Counts, Scores, macro, micro

PROTOCOLS = {
    "text": "text (the set of (label, surface) of each sentence)",
    "span": "span (offsets and label, every mention counts)",
    "official": "official CLUENER (Macro Avg. of the protocol text over the corpus's labels; division by zero is 0)",
    "modes": "nervaluate's modes (strict, exact, partial, type)",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", help="a name in runs/, or a folder")
    parser.add_argument("--protocol", choices=[*PROTOCOLS, "all"], default="text", help="what to print (default text)")
    parser.add_argument("--reading", choices=READINGS, default="lenient", help="default: lenient")
    load.add_arguments(parser)


def run(args: argparse.Namespace) -> None:
    from ner_eval.count import count

    loaded = load.load(args.run, args)
    scores = count(loaded)
    path = loaded.folder / SCORES
    scores.save(path)
    protocols = list(PROTOCOLS) if args.protocol == "all" else [args.protocol]
    for line in describe(scores, loaded.name, protocols, args.reading):
        print(line)
    print(f"counts: {rooted(path)}")


def describe(scores: Scores, name: str, protocols: list[str], reading: str) -> Iterator[str]:
    """The lines that `ner-eval score` prints."""
    answers = scores.answers
    yield f"{name}: {scores.model} on {scores.corpus}/{scores.split}, {answers.scored} sentences, {reading} reading"
    if chosen := [f"{key} {value}" for key, value in scores.selection.items() if value]:
        yield f"only a selection of the split: {', '.join(chosen)}"
    if answers.missing:
        total = answers.scored + answers.missing
        yield f"PARTIAL: {answers.missing} of {total} records have no answer and are left out of every figure"
    if answers.without_gold:
        yield f"{answers.without_gold} records without gold are not scored"
    for protocol in protocols:
        yield f"\nprotocol: {PROTOCOLS[protocol]}"
        yield modes_table(scores, reading) if protocol == "modes" else label_table(scores, protocol, reading)
        if protocol != "modes":
            yield from _headline(scores, protocol, reading)
    yield ""
    yield from _problems(scores, reading)


def label_table(scores: Scores, protocol: str, reading: str) -> str:
    """A row for every label, then Macro Avg. and Micro Avg.; 4 digits."""
    by_label = counts_of(scores, protocol, reading)
    rows: list[tuple[str, float, float, float]] = [
        (label, c.precision, c.recall, c.f1) for label, c in ((label, by_label[label]) for label in scores.labels)
    ]
    total = micro(by_label)
    rows.append(("Macro Avg.", *macro(by_label, scores.labels)))
    rows.append(("Micro Avg.", total.precision, total.recall, total.f1))
    return table(rows, ["Label", "Precision", "Recall", "F1"])


def counts_of(scores: Scores, protocol: str, reading: str) -> dict[str, Counts]:
    """Counts by label; the official protocol counts as the protocol text does."""
    return scores.readings[reading].span if protocol == "span" else scores.readings[reading].text


def modes_table(scores: Scores, reading: str) -> str:
    """A row for every mode."""
    rows = [
        (mode, c.correct, c.incorrect, c.partial, c.missed, c.spurious, c.precision, c.recall, c.f1)
        for mode, c in scores.readings[reading].modes.items()
    ]
    outcomes = ["Correct", "Incorrect", "Partial", "Missed", "Spurious"]
    return table(rows, ["Mode", *outcomes, "Precision", "Recall", "F1"])


def table(rows: list[Any], header: list[str]) -> str:
    """Rows as a pandas table, figures with 4 digits."""
    import pandas as pd

    # Chinese characters are two columns wide: without this the columns do not line up.
    with pd.option_context("display.unicode.east_asian_width", True):
        return str(pd.DataFrame(rows, columns=header).to_string(index=False, float_format="{:.4f}".format))


def _headline(scores: Scores, protocol: str, reading: str) -> Iterator[str]:
    average, name = ("macro", "Macro Avg.") if protocol == "official" else ("micro", "Micro Avg.")
    spread = scores.intervals.get(reading, {}).get("span" if protocol == "span" else "text", {})
    if spread:
        shown = {key: f"[{low:.4f}, {high:.4f}]" for key, (low, high) in spread.items()}
        level = f"{scores.intervals['level']:.0%} intervals (bootstrap over sentences)"
        yield f"{level}: Micro Avg. F1 {shown['micro']}, Macro Avg. F1 {shown['macro']}"
    other = next(r for r in READINGS if r != reading)
    by_label = counts_of(scores, protocol, other)
    figure = macro(by_label, scores.labels)[2] if average == "macro" else micro(by_label).f1
    yield f"{name} F1 of the {other} reading: {figure:.4f}"
    own = counts_of(scores, protocol, reading)
    if empty := [label for label in scores.labels if own[label] == Counts()]:
        yield f"neither gold nor predictions, so 0 in Macro Avg. (division by zero is 0): {', '.join(empty)}"


def _problems(scores: Scores, reading: str) -> Iterator[str]:
    answers, mentions = scores.answers, scores.readings[reading].mentions
    yield (
        f"answers: {answers.scored}; unparsable {answers.unparsable}, inexact {answers.inexact}, "
        f"with a bad item {answers.bad_item}, cut by max_tokens {answers.cut}"
    )
    yield (
        f"mentions: {mentions.predicted} (gold {mentions.gold}); not in their text {mentions.hallucinated}, "
        f"unknown label {mentions.unknown_label} (both count as false positives), duplicated {mentions.duplicated}"
    )
