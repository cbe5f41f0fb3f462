"""A report as one self-contained HTML page: what to do first, then figures and plots, then the findings."""

import re
from collections.abc import Iterable, Mapping
from html import escape
from importlib.resources import files

from ner_common.errors import printable
from ner_common.pages import fill, style
from ner_data.checking.plots import histogram
from ner_data.checking.report import CLASSES, Finding, Found, Place, Report
from ner_data.checking.terminal import label_counts, size_rows

_OPEN = 10  # findings of a class that are shown at once; the others are folded
_AROUND = 60  # characters of a text before and after the place


def page(report: Report) -> str:
    """The page as HTML; nothing in it is loaded from elsewhere, and no script runs."""
    found = {name: one for name, one in report.found.items() if one.count}
    parts = {
        "todo": ("What to do", _todo(report)),
        "sizes": ("Sizes", _sizes(report)),
        "labels": ("Labels", _labels(report)),
        "plots": ("Distributions", _plots(report)),
        **{name: (CLASSES[name].title, _class(name, one)) for name, one in found.items()},
    }
    listed = {key: title if key not in CLASSES else key for key, (title, _) in parts.items()}
    return fill(
        (files("ner_data.checking") / "page.html").read_text("utf-8"),
        {
            "title": text(f"{report.corpus} · {report.title}"),
            "style": style(),
            "contents": "".join(f'<li><a href="#{key}">{text(title)}</a></li>' for key, title in listed.items()),
            "sections": "\n".join(
                f'<section id="{key}"><h2>{text(title)}{_count(found, key)}</h2>{body}</section>'
                for key, (title, body) in parts.items()
            ),
        },
    )


def text(value: str) -> str:
    """Text that others wrote as HTML that only shows it; control and bidirectional characters are spelt out."""
    return escape(printable(value))


def _with_code(words: str) -> str:
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", text(words))


def _count(found: Mapping[str, Found], key: str) -> str:
    return f' <span class="count">{found[key].count:,}</span>' if key in found else ""


def table(head: Iterable[str], rows: Iterable[Iterable[str]], kind: str = "") -> str:
    """A table of cells that are HTML already."""
    first = "".join(f"<th>{cell}</th>" for cell in head)
    body = "".join(f"<tr>{''.join(f'<td>{cell}</td>' for cell in row)}</tr>" for row in rows)
    return (
        f'<div class="scroll"><table class="{kind}"><thead><tr>{first}</tr></thead><tbody>{body}</tbody></table></div>'
    )


def _todo(report: Report) -> str:
    rows = []
    for name, found in report.found.items():
        if found.count:
            link = f'<a href="#{name}">{name}</a>'
            about = f"{text(CLASSES[name].title)}. <small>{_with_code(CLASSES[name].remedy)}</small>"
            rows.append([link, f"{found.count:,}", about])
    without = [name for name, found in report.found.items() if not found.count and not found.skipped]
    skipped = [f"{name}: {found.skipped}" for name, found in report.found.items() if found.skipped]
    records = sum(one.records for one in report.splits.values())
    lead = f"{records:,} records with {report.texts:,} distinct texts. The most urgent findings come first."
    parts = [f'<p class="lead">{lead}</p>', table(["Class", "Findings", "What, and what to do"], rows, "todo")]
    if without:
        parts.append(f'<p class="note">Looked for and not found: {", ".join(without)}.</p>')
    if skipped:
        parts.append(f'<p class="note">Not looked for: {text("; ".join(skipped))}.</p>')
    return "".join(parts)


def _sizes(report: Report) -> str:
    head = ["", *(f"{split}<br><small>{text(one.file)}</small>" for split, one in report.splits.items())]
    rows = [[text(name).replace("  ", "&emsp;"), *map(text, cells)] for name, cells in size_rows(report)]
    return table(head, rows, "sizes")


def _labels(report: Report) -> str:
    names = dict(report.labels)
    most = max(
        (count / max(1, one.mentions) for one in report.splits.values() for count in one.labels.values()), default=1
    )
    rows = []
    for label, counts in label_counts(report):
        name = names.get(label, label)
        cells = [text(label) + (f" <small>{text(name)}</small>" if name != label else "")]
        for order, (count, share) in enumerate(counts):
            width = 100 * share / most if most else 0
            bar = f'<div class="bar s{order % 3}"><i style="width:{width:.1f}%"></i></div>'
            cells.append(f"{count:,} <small>{share:.1%}</small>{bar}")
        rows.append(cells)
    labelled = [split for split, one in report.splits.items() if one.records > one.unlabelled]
    return table(["Label", *labelled], rows, "shares")


def _plots(report: Report) -> str:
    splits = report.splits
    key = "".join(f'<span class="key s{order % 3}"></span>{split}' for order, split in enumerate(splits))
    plots = [
        histogram("Characters per record", {split: one.lengths for split, one in splits.items()}),
        histogram("Mentions per record", {split: one.sizes for split, one in splits.items()}),
    ]
    if report.tokens_of:
        title = f"Tokens per record ({report.tokens_of})"
        plots.append(histogram(title, {split: one.tokens for split, one in splits.items()}, report.cutoff))
    figures = report.found["drift"].figures
    rows = [
        [split, text(what), f"{one['bits']:.4f}", "yes" if one["by_chance"] else "no"]
        for split, compared in figures.items()
        for what, one in compared.items()
    ]
    compared = ""
    if rows:
        note = (
            "Jensen-Shannon divergence from train: 0 bits if equal, at most 1. A G test says whether it may be chance."
        )
        head = ["Split", "Of", "Bits", "May be chance"]
        compared = f'<h3>Compared with train</h3><p class="note">{note}</p>{table(head, rows, "words")}'
    note = f'<p class="note">Share of the records of each split:{key}</p>'
    return f'{note}<div class="plots">{"".join(plots)}</div>{compared}'


def _class(name: str, found: Found) -> str:
    kind = CLASSES[name]
    notes = "".join(f"<li>{text(note)}</li>" for note in found.notes)
    parts = [
        f'<p class="note">{text(kind.means)}</p><p class="remedy">{_with_code(kind.remedy)}</p>',
        f'<ul class="notes">{notes}</ul>' if notes else "",
        *map(_finding, found.findings[:_OPEN]),
    ]
    if rest := found.findings[_OPEN:]:
        parts.append(f"<details><summary>{len(rest):,} more</summary>{''.join(map(_finding, rest))}</details>")
    if hidden := found.count - len(found.findings):
        parts.append(f'<p class="note">{hidden:,} further ones are counted and not listed.</p>')
    return "".join(parts)


def _finding(finding: Finding) -> str:
    if any(place.start < place.end or place.note or place.text != finding.what for place in finding.places):
        places = "".join(f"<li>{_place(place)}</li>" for place in finding.places)
    else:  # the same text everywhere
        places = f'<li class="flat">{"".join(map(_source, finding.places))}</li>'
    more = f'<li class="more">and {finding.more:,} more</li>' if finding.more > 0 else ""
    what = f"<b><bdi>{text(finding.what)}</bdi></b>"
    return f'<div class="finding"><p>{what} <small>{text(finding.detail)}</small></p><ul>{places}{more}</ul></div>'


def _source(place: Place) -> str:
    return f"<code>{text(place.split)} {text(place.source)}</code>"


def _place(place: Place) -> str:
    if place.start == place.end:  # the text as a whole
        return f"{_source(place)}<bdi>{text(place.note or place.text)}</bdi>"
    before = place.text[max(0, place.start - _AROUND) : place.start]
    after = place.text[place.end : place.end + _AROUND]
    cut = ["…" if place.start > _AROUND else "", "…" if len(place.text) > place.end + _AROUND else ""]
    marked = f"{cut[0]}{text(before)}<mark>{text(place.text[place.start : place.end])}</mark>{text(after)}{cut[1]}"
    return f"{_source(place)}<bdi>{marked}</bdi>"
