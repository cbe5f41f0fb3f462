"""What the terminal shows of a report: one table, one line per class, and the first findings."""

from collections import Counter
from collections.abc import Iterator

from ner_common.errors import escaped
from ner_data.checking.report import CLASSES, Figures, Found, Report

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
    yield f"seconds: {', '.join(f'{stage} {seconds}' for stage, seconds in report.seconds.items())}"


def _class(name: str, found: Found, shown: int) -> Iterator[str]:
    yield f"{name}: {found.count:,}. {CLASSES[name].title}. {CLASSES[name].remedy}"
    yield from (f"  {note}" for note in found.notes)
    for finding in found.findings[:shown]:
        where = [f"{place.split} {place.source}" for place in finding.places]
        more = [f"{finding.more:,} more"] if finding.more else []
        yield f"  - {escaped(finding.what, _WIDTH)}: {finding.detail}"
        yield f"      {', '.join(where + more)}"
    if found.count > shown and len(found.findings) > shown:
        yield f"  … and more: --all prints {len(found.findings):,}, so do --html and --json"


def table(report: Report) -> str:
    """Sizes and label counts of every split."""
    import pandas as pd

    splits = list(report.splits.values())
    rows: list[tuple[str, list[str]]] = [
        ("records", [f"{one.records:,}" for one in splits]),
        ("  without gold", [f"{one.unlabelled:,}" for one in splits]),
        ("  without mentions", [f"{one.empty:,}" for one in splits]),
        ("characters per record", [span(one.lengths) for one in splits]),
        ("mentions per record", [span(one.sizes) for one in splits]),
    ]
    if report.tokens_of:
        rows.append(("tokens per record", [span(one.tokens) for one in splits]))
    if report.cutoff:
        rows.append((f"  more than {report.cutoff:,}", [f"{one.over:,}" for one in splits]))
    rows += [
        ("full-width letters, digits", [f"{one.wide:,}" for one in splits]),
        ("half-width letters, digits", [f"{one.narrow:,}" for one in splits]),
        ("touching mentions", [f"{one.touching:,}" for one in splits]),
        ("  of one label", [f"{one.same:,}" for one in splits]),
        ("mentions", [f"{one.mentions:,}" for one in splits]),
    ]
    rows += [(f"  {escaped(label, 40)}", counts) for label, counts in label_rows(report)]
    index = [name for name, _ in rows]
    frame = pd.DataFrame([row for _, row in rows], index=index, columns=list(report.splits))
    with pd.option_context("display.unicode.east_asian_width", True, "display.max_rows", None):
        return str(frame.to_string())


def label_rows(report: Report) -> list[tuple[str, list[str]]]:
    """(label, its mentions with their share, per split), in the order of the description."""
    known = [label for label, _ in report.labels]
    others = sorted({label for one in report.splits.values() for label in one.labels} - set(known))
    return [(label, [_share(one, label) for one in report.splits.values()]) for label in [*known, *others]]


def _share(figures: Figures, label: str) -> str:
    if figures.records == figures.unlabelled:
        return "–"
    return f"{figures.labels[label]:,} ({figures.labels[label] / max(1, figures.mentions):.1%})"


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
