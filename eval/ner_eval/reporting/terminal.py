"""What the terminal shows: the tables of `ner-eval score` and `compare`, and texts with their entities marked."""

from collections.abc import Iterator, Sequence
from math import nan
from typing import Any

from ner_data.gold import Entity
from ner_eval.metrics.comparison import Comparison
from ner_eval.metrics.counts import Counts, macro, micro
from ner_eval.metrics.protocols import PROTOCOLS, Protocol
from ner_eval.metrics.results import READINGS, Scores

# Foreground and background that can be read on dark and light terminals alike.
_COLOURS = ["30;46", "30;43", "30;42", "30;45", "97;44", "97;41", "30;106", "30;103", "30;102", "30;105"]


def describe_scores(scores: Scores, name: str, protocols: Sequence[str], reading: str) -> Iterator[str]:
    """The lines that `ner-eval score` prints."""
    answers = scores.answers
    yield f"{name}: {scores.model} on {scores.corpus}/{scores.split}, {answers.scored} sentences, {reading} parsing"
    if selected := [f"{key} {value}" for key, value in scores.selection.items() if value]:
        yield f"only a selection of the split: {', '.join(selected)}"
    if answers.missing:
        total = answers.scored + answers.missing
        yield f"PARTIAL: {answers.missing} of {total} records have no answer and are excluded from all figures"
    if answers.refused:
        yield (
            f"REFUSED: the server refused {answers.refused} of {answers.scored} records; all of their entities count "
            "as missed. Ask them again with `ner-eval predict … --retry-refused`, then score again"
        )
    if answers.without_gold:
        yield f"{answers.without_gold} records without gold are not scored"
    printed: dict[str, str] = {}  # which protocol's table has shown which counts
    for protocol in protocols:
        chosen = PROTOCOLS[protocol]
        yield f"\nprotocol: {chosen.title}"
        if chosen.tally is None:
            yield modes_table(scores, reading)
        elif chosen.counted_as in printed:
            yield _same_counts(scores, chosen, reading, printed[chosen.counted_as])
        else:
            yield label_table(scores, chosen, reading)
            yield from _headline(scores, chosen, reading)
            printed[chosen.counted_as] = chosen.name
    yield ""
    yield from _problems(scores, reading)


def label_table(scores: Scores, protocol: Protocol, reading: str) -> str:
    """A row for every label, then Macro Avg. and Micro Avg.; 4 digits, a dash for a label that occurs nowhere."""
    by_label = scores.counts(protocol, reading)
    rows = [(label, *_figures(by_label[label])) for label in scores.labels]
    rows += [("Macro Avg.", *macro(by_label, scores.labels)), ("Micro Avg.", *_figures(micro(by_label)))]
    return table(rows, ["Label", "Precision", "Recall", "F1"])


def _figures(counts: Counts) -> tuple[float, float, float]:
    """Precision, recall and F1; not a number without gold and predictions."""
    return (nan, nan, nan) if counts == Counts() else (counts.precision, counts.recall, counts.f1)


def modes_table(scores: Scores, reading: str) -> str:
    """A row for every mode."""
    rows = [
        (mode, c.correct, c.incorrect, c.partial, c.missed, c.spurious, c.precision, c.recall, c.f1)
        for mode, c in scores.readings[reading].modes.items()
    ]
    outcomes = ["Correct", "Incorrect", "Partial", "Missed", "Spurious"]
    return table(rows, ["Mode", *outcomes, "Precision", "Recall", "F1"])


def table(rows: list[Any], header: list[str]) -> str:
    """Rows as a pandas table, figures with 4 digits and a dash for not-a-number."""
    import pandas as pd

    # Chinese characters are two columns wide: without this the columns do not line up.
    with pd.option_context("display.unicode.east_asian_width", True):
        return str(pd.DataFrame(rows, columns=header).to_string(index=False, float_format="{:.4f}".format, na_rep="–"))


def _same_counts(scores: Scores, protocol: Protocol, reading: str, other: str) -> str:
    """The headline of a protocol whose counts another protocol's table shows."""
    spread = scores.intervals.get(reading, {}).get(protocol.counted_as, {}).get(protocol.average)
    shown = f" [{spread[0]:.4f}, {spread[1]:.4f}]" if spread else ""
    return f"{protocol.headline}: {scores.headline(protocol, reading):.4f}{shown}, from the table of {other} above"


def _headline(scores: Scores, protocol: Protocol, reading: str) -> Iterator[str]:
    if spread := scores.intervals.get(reading, {}).get(protocol.counted_as, {}):
        shown = {key: f"[{low:.4f}, {high:.4f}]" for key, (low, high) in spread.items()}
        level = f"{scores.intervals['level']:.0%} intervals (bootstrap over sentences)"
        yield f"{level}: Micro Avg. F1 {shown['micro']}, Macro Avg. F1 {shown['macro']}"
    other = next(r for r in READINGS if r != reading)
    yield f"{protocol.headline} with {other} parsing: {scores.headline(protocol, other):.4f}"
    own = scores.counts(protocol, reading)
    if empty := [label for label in scores.labels if own[label] == Counts()]:
        yield f"–: neither gold nor predictions, so 0 in Macro Avg. (division by zero is 0): {', '.join(empty)}"


def _problems(scores: Scores, reading: str) -> Iterator[str]:
    answers, mentions = scores.answers, scores.readings[reading].mentions
    yield (
        f"answers: {answers.scored}; unparsable {answers.unparsable}, inexact {answers.inexact}, "
        f"with a bad item {answers.bad_item}, truncated by max_tokens {answers.cut}"
    )
    yield (
        f"mentions: {mentions.predicted} (gold {mentions.gold}); not in their text {mentions.hallucinated}, "
        f"unknown label {mentions.unknown_label} (both count as false positives), duplicated {mentions.duplicated}"
    )


def describe_comparison(compared: Comparison) -> Iterator[str]:
    """The lines that `ner-eval compare` prints."""
    protocol, reading, first = compared.protocol, compared.reading, compared.runs[0].scores
    where = "" if compared.sentences is None else f", {compared.sentences} sentences"
    yield f"{first.corpus}/{first.split}{where}; protocol: {protocol.name}, {protocol.headline}; {reading} parsing"
    if compared.sentences is None:
        yield "a scores file has no sentences, so there is no significance"
    some_refused = any(item.scores.answers.refused for item in compared.runs)
    rows = []
    for item in compared.runs:
        by_label = item.scores.counts(protocol, reading)
        total, difference = micro(by_label), item.difference
        shown = (
            [f"{difference.f1:+.4f}", f"[{difference.low:+.4f}, {difference.high:+.4f}]", f"{difference.p:.3f}"]
            if difference
            else ["", "", ""]
        )
        strict = item.scores.headline(protocol, "strict")
        figures = (total.precision, total.recall, total.f1, macro(by_label, item.scores.labels)[2], strict)
        refused = [item.scores.answers.refused] if some_refused else []
        rows.append((item.name, *figures, *shown, item.scores.answers.unparsable, *refused))
    columns = ["Run", "Precision", "Recall", "Micro F1", "Macro F1", "strict"]
    yield table(
        rows,
        [*columns, "Difference", "95% interval", "p", "unparsable", *(["refused"] if some_refused else [])],
    )
    if some_refused:
        yield (
            "REFUSED: records that the server refused count as errors: all of their entities are missed. "
            "Ask them again with `ner-eval predict … --retry-refused`"
        )
    yield "\nF1 by label"
    lines = [
        (label, *(_figures(item.scores.counts(protocol, reading)[label])[2] for item in compared.runs))
        for label in first.labels
    ]
    yield table(lines, ["Label", *(item.name for item in compared.runs)])


def highlight(text: str, entities: Sequence[Entity], labels: Sequence[str], colour: bool) -> str:
    """Mark the entities in a text; those that overlap an earlier one are listed after it.

    With ``colour``: ANSI colours, one per label; without: ``[林晓 name]``. Control characters of the text are shown as
    their pictures (␛), so no text can control the terminal.
    """
    parts, rest = [], []
    at = 0
    for entity in sorted(entities, key=lambda e: (e.start, -e.end)):
        if entity.start < at:
            rest.append(entity)
            continue
        parts += [_harmless(text[at : entity.start]), _mark(entity, labels, colour)]
        at = entity.end
    parts.append(_harmless(text[at:]))
    if rest:
        parts.append("  + " + " ".join(_mark(entity, labels, colour) for entity in rest))
    return "".join(parts)


def _mark(entity: Entity, labels: Sequence[str], colour: bool) -> str:
    surface, label = _harmless(entity.text), _harmless(entity.label)
    if not colour:
        return f"[{surface} {label}]"
    code = _COLOURS[labels.index(entity.label) % len(_COLOURS)] if entity.label in labels else "7"
    return f"\x1b[{code}m{surface}\x1b[0m\x1b[2m{label}\x1b[0m"


def _harmless(text: str) -> str:
    pictures = {code: 0x2400 + code for code in range(0x20) if code != 0x0A} | {0x7F: 0x2421}
    return text.translate(pictures | dict.fromkeys(range(0x80, 0xA0), 0xFFFD)).encode("utf-8", "replace").decode()
