"""What the terminal shows of a report: one table, one line per class, and the first findings."""

from collections import Counter
from collections.abc import Iterator

from ner_common.errors import escaped
from ner_data.checking.report import CLASSES, Found, Report

FIRST = 3  # findings of a class that are shown unasked
_WIDTH = 60  # characters of a text


def describe(report: Report, shown: int) -> Iterator[str]:
    """The lines, with at most ``shown`` findings of each class."""
    yield f"{report.corpus}: {report.title}; {report.texts:,} distinct texts"
    yield ""
    yield table(report)
    for name, found in report.found.items():
        if found.count:
            yield ""
            yield from _class(name, found, shown)
    yield ""
    if nothing := [name for name, found in report.found.items() if not found.count and not found.skipped]:
        yield f"nothing found: {', '.join(nothing)}"
    for name, found in report.found.items():
        if found.skipped:
            yield f"not looked for: {name} ({found.skipped})"
    if report.tokens_of:
        yield f"tokens: {report.tokens_of}, with {report.tokenizer}; what the chat template adds is not counted"
    yield f"seconds: {', '.join(f'{stage} {seconds}' for stage, seconds in report.seconds.items())}"


def _class(name: str, found: Found, shown: int) -> Iterator[str]:
    yield f"{name}: {found.count:,}. {CLASSES[name].title}. {CLASSES[name].remedy}"
    yield from (f"  {note}" for note in found.notes)
    for finding in found.findings[:shown]:
        where = [f"{place.split} {place.source}{place.note and f' ({place.note})'}" for place in finding.places]
        more = [f"{finding.more:,} more"] if finding.more else []
        yield f"  - {escaped(finding.what, _WIDTH)}: {_line(finding.detail)}"
        yield f"      {_line(', '.join(where + more))}"
    if found.count > shown and len(found.findings) > shown:
        yield f"  … and more: --all prints {len(found.findings):,}, so do --html and --json"


def _line(text: str) -> str:
    """A text in which surfaces and file names may be, on one line; `ner_common.commands.Terminal` does the rest."""
    return text.replace("\n", "\\n").replace("\t", "\\t")


def table(report: Report) -> str:
    """Sizes and label counts of every split."""
    import pandas as pd

    labelled = [one.records > one.unlabelled for one in report.splits.values()]
    rows = list(size_rows(report))
    for label, counts in label_counts(report):
        shown = iter(f"{count:,} ({share:.1%})" for count, share in counts)
        rows.append((f"  {escaped(label, 40)}", [next(shown) if gold else "–" for gold in labelled]))
    index = [name for name, _ in rows]
    frame = pd.DataFrame([cells for _, cells in rows], index=index, columns=list(report.splits))
    with pd.option_context("display.unicode.east_asian_width", True, "display.max_rows", None):
        return str(frame.to_string())


def size_rows(report: Report) -> Iterator[tuple[str, list[str]]]:
    """(what, its figure for each split) of everything but labels."""
    splits = list(report.splits.values())
    yield "records", [f"{one.records:,}" for one in splits]
    yield "  without gold", [f"{one.unlabelled:,}" for one in splits]
    yield "  without mentions", [f"{one.empty:,}" for one in splits]
    yield "characters per record", [span(one.lengths) for one in splits]
    yield "mentions per record", [span(one.sizes) for one in splits]
    if report.tokens_of:
        yield "tokens per record", [span(one.tokens) for one in splits]
    if report.cutoff:
        yield f"  more than {report.cutoff:,}", [f"{one.over:,}" for one in splits]
    yield "full-width letters, digits", [f"{one.wide:,}" for one in splits]
    yield "half-width letters, digits", [f"{one.narrow:,}" for one in splits]
    yield "touching mentions", [f"{one.touching:,}" for one in splits]
    yield "  of one label", [f"{one.same:,}" for one in splits]
    yield "mentions", [f"{one.mentions:,}" for one in splits]


def label_counts(report: Report) -> list[tuple[str, list[tuple[int, float]]]]:
    """(label, its mentions and their share in each split that has gold), in the order of the description."""
    splits = [one for one in report.splits.values() if one.records > one.unlabelled]
    known = [label for label, _ in report.labels]
    others = sorted({label for one in splits for label in one.labels} - set(known))
    return [
        (label, [(one.labels[label], one.labels[label] / max(1, one.mentions)) for one in splits])
        for label in [*known, *others]
    ]


def span(counts: Counter[int]) -> str:
    """Least, median, 99 % and greatest of counted numbers."""
    if not counts:
        return "–"
    least, most = min(counts), max(counts)
    return f"{least}–{most:,}, median {quantile(counts, 0.5):,}, 99% {quantile(counts, 0.99):,}"


def quantile(counts: Counter[int], share: float) -> int:
    """The least number that at least this share of the counted ones does not exceed."""
    left = share * counts.total()
    for number in sorted(counts):
        left -= counts[number]
        if left <= 0:
            return number
    return max(counts)
