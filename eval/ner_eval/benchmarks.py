"""docs/benchmarks.md: the tables of all result files, and learning curves with their plots.

The same result files give the same bytes, so a change in the repository is a change of a result.
"""

import re
from collections import defaultdict
from pathlib import Path
from typing import Any

from ner_common.files import write_atomically
from ner_eval.published import Published, all_results, cell, table_of
from ner_eval.reporting.plot import save

DOCS = Path("docs")
FILE_NAME = "benchmarks.md"
PLOT = "learning-curve-"
SEVERAL = "; "  # between the names of learning curves that share a point
HEAD = """# Benchmarks

Written by `ner-eval publish` from the result files in `recipes/*/results/`, which hold the counts per label; do not
edit it. F1 over the protocol text (the set of (label, surface) of each sentence), lenient parsing, with 95 % intervals
(bootstrap over sentences). A dash: not recorded. The recipes and how to launch them: [recipes](../recipes/README.md).
"""
COLUMNS = (
    *("Recipe", "Differs from it", "Trained on", "Records", "Answer form", "Prompt options", "Sentences", "Micro F1"),
    *("Macro F1", "Answers/s", "Training", "GPU memory", "Hardware", "Commit", "Result"),
)
CURVE_COLUMNS = ("Series", "Sentences trained on", "Prompt options", "Sentences scored", "Micro F1", "Result")
# A base model, a corpus and a split; the results in one table can be compared.
Group = tuple[str, str, str]
Results = dict[Path, Published]


def write_benchmarks() -> list[Path]:
    """Write docs/benchmarks.md and the plots of its learning curves; plots that it no longer shows are removed.

    Returns:
        The files written.

    Raises:
        UserError: a result file was edited.
    """
    results = all_results()
    DOCS.mkdir(exist_ok=True)
    written = [DOCS / FILE_NAME]
    for group, points in curves(results).items():
        written.append(DOCS / plot_name(group))
        draw(group, points, written[-1])
    with write_atomically(DOCS / FILE_NAME) as file:
        file.write(page(results))
    for path in DOCS.glob(f"{PLOT}*.png"):
        if path not in written:
            path.unlink()
    return written


def page(results: Results) -> str:
    """The whole document."""
    parts = [HEAD]
    shown = curves(results)
    for group, members in groups(results).items():
        base, corpus, split = map(cell, group)
        parts.append(f"## {base} on {corpus} {split}\n")
        best = sorted(members.items(), key=lambda item: (-item[1].micro_f1, item[0]))
        parts.append(table_of([COLUMNS, *(_row(path, result) for path, result in best)]) + "\n")
        if group in shown:
            parts.append(f"How much must I annotate? ![F1 by number of training sentences]({plot_name(group)})\n")
            rows = [_point_row(path, result) for path, result in shown[group].items()]
            parts.append(table_of([CURVE_COLUMNS, *rows]) + "\n")
    return "\n".join(parts)


def groups(results: Results) -> dict[Group, Results]:
    """The results by base model, corpus and split."""
    found: dict[Group, Results] = defaultdict(dict)
    for path, result in results.items():
        found[result.base_model, result.run.corpus, result.run.split][path] = result
    return dict(sorted(found.items()))


def curves(results: Results) -> dict[Group, Results]:
    """The points of the learning curves by group, in order of series and number of records; one point is no curve."""
    found = {}
    for group, members in groups(results).items():
        points = [(path, result) for path, result in members.items() if result.curve]
        if len({result.training_records for _, result in points}) > 1:
            found[group] = dict(sorted(points, key=lambda item: (item[1].curve, item[1].training_records, item[0])))
    return found


def plot_name(group: Group) -> str:
    return PLOT + re.sub(r"[^\w.-]+", "-", "-".join(group), flags=re.ASCII) + ".png"


def _row(path: Path, result: Published) -> tuple[str, ...]:
    micro, macro = result.spread() or (None, None)
    prompt, refused = result.prompt, result.answers.get("refused")
    return (
        f"`{result.method}`",
        cell(result.note) or "–",
        cell(result.trained_on) or "–",
        "–" if result.training_records is None else f"{result.training_records:,}",
        cell(prompt.answer_form) if prompt else "–",
        (cell(prompt.options()) or "none") if prompt else "–",
        f"{result.answers['scored']:,}" + (f" ({refused} refused)" if refused else ""),
        figure(result.micro_f1, micro),
        figure(result.macro_f1, macro),
        "–" if result.answers_per_s is None else f"{result.answers_per_s:.2g}",
        *result.effort(),
        _linked(path),
    )


def _point_row(path: Path, result: Published) -> tuple[str, ...]:
    micro, _ = result.spread() or (None, None)
    options = (result.prompt and result.prompt.options()) or "none"
    return (
        cell(result.curve),
        f"{result.training_records:,}" if result.training_records else "0 (not trained)",
        cell(options),
        f"{result.answers['scored']:,}",
        figure(result.micro_f1, micro),
        _linked(path),
    )


def figure(f1: float, interval: tuple[float, float] | None) -> str:
    return f"{f1:.4f}" + (f" [{interval[0]:.4f}, {interval[1]:.4f}]" if interval else "")


def _linked(path: Path) -> str:
    """A link to a result file, whose name may hold what Markdown takes for markup."""
    from urllib.parse import quote

    return f"[{cell(path.stem)}](../{quote(path.as_posix())})"


def draw(group: Group, points: Results, path: Path) -> None:
    """Draw micro F1 with its intervals against the number of training sentences into a PNG file, all or nothing."""
    from matplotlib.figure import Figure

    drawing = Figure(figsize=(7, 4.2), dpi=120, layout="constrained")
    axes: Any = drawing.add_subplot()
    series: dict[str, list[Published]] = defaultdict(list)
    lines = []
    for result in sorted(points.values(), key=lambda result: result.training_records or 0):
        for name in result.curve.split(SEVERAL):
            series[name].append(result)
    for members in series.values():
        counts = [result.training_records or 0 for result in members]
        f1 = [result.micro_f1 for result in members]
        spreads = [(result.spread() or ((value, value), None))[0] for result, value in zip(members, f1, strict=True)]
        below = [max(value - low, 0) for value, (low, _) in zip(f1, spreads, strict=True)]
        above = [max(high - value, 0) for value, (_, high) in zip(f1, spreads, strict=True)]
        lines.append(axes.errorbar(counts, f1, [below, above], marker="o", markersize=4, capsize=3, linewidth=1.3))
    ticks = sorted({result.training_records or 0 for result in points.values()})
    # Zero, the base model without training, is as far from the first point as that from ten times as many sentences.
    axes.set_xscale("symlog", linthresh=next((tick for tick in ticks if tick), 1))
    axes.set_xticks(ticks, _apart(ticks), rotation=30)
    axes.set_xticks([], minor=True)
    axes.set_ylim(0, 1)
    axes.grid(axis="y", linewidth=0.4)
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_xlabel("training sentences (0: not trained)")
    axes.set_ylabel("micro F1, with 95 % intervals")
    axes.set_title(plain("{} on {} {}".format(*group)), loc="left", fontsize=11)
    axes.legend(lines, map(plain, series), frameon=False, loc="lower right")
    # Without the version of matplotlib in the file, only a change of the picture changes it.
    save(drawing, path, metadata={"Software": None})


def _apart(ticks: list[int]) -> list[str]:
    """The labels of ticks on a logarithmic axis; none where it would touch the one before."""
    labels, last = [], 0
    for tick in ticks:
        labels.append(f"{tick:,}" if tick >= 1.4 * last else "")
        last = tick if labels[-1] else last
    return labels


def plain(text: str) -> str:
    """A text that matplotlib draws as it is, in its own font: ASCII, and no mathematics between dollar signs."""
    return text.encode("ascii", "replace").decode().replace("$", r"\$")
