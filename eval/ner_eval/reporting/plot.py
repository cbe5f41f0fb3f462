"""Plots as PNG, for slides: F1 of every label with its Chinese name, and F1 of every checkpoint of a training."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ner_common.files import temporary_of
from ner_eval.reporting.fonts import Face
from ner_eval.reporting.wording import four, wording


def draw(data: dict[str, Any], path: Path, face: Face, language: str) -> None:
    """Draw F1 by label (leading protocol, lenient parsing) from a report's data into a PNG file."""
    from matplotlib.figure import Figure

    text, say = face.properties(), wording(language)
    leading, run = data["headlines"][0], data["run"]
    scores = data["protocols"][leading["counted_as"]]["lenient"]
    names = {label: _short(name if name == label else f"{name} {label}") for label, name in data["labels"]}
    rows = sorted(((names[label], scores["labels"][label]["f1"]) for label in names), key=lambda row: row[1] or 0)
    figure = Figure(figsize=(8, 1.6 + 0.38 * len(rows)), dpi=160, layout="constrained")
    axes = figure.add_subplot()
    axes.barh(range(len(rows)), [f1 or 0 for _, f1 in rows], color="#2f6f9f", height=0.68)
    axes.set_yticks(range(len(rows)), [name for name, _ in rows], fontproperties=text, fontsize=11, parse_math=False)
    for position, (_, f1) in enumerate(rows):
        box = {"color": "white", "pad": 1}
        axes.text((f1 or 0) + 0.008, position, four(f1), va="center", fontsize=9.5, bbox=box)
    axes.axvline(scores["micro"]["f1"], color="#c0504d", linestyle="--", linewidth=1.2)
    axes.set_xlim(0, 1.09)
    axes.set_ylim(-0.6, len(rows) - 0.4)
    axes.spines[["top", "right"]].set_visible(False)
    interval = (scores["intervals"] or {}).get("micro")
    spread = f" [{interval[0]:.4f}, {interval[1]:.4f}]" if interval else ""
    title = f"{_short(run['model'])} · {run['corpus']}/{run['split']} · Micro F1 {scores['micro']['f1']:.4f}{spread}"
    axes.set_title(title, fontproperties=text, fontsize=12, loc="left", parse_math=False)
    label = say("plot_axis", protocol=leading["title"][language])
    axes.set_xlabel(label, fontproperties=text, fontsize=10)
    save(figure, path)


def draw_steps(
    title: str,
    points: Sequence[tuple[int, float, float, float]],
    losses: Sequence[tuple[int, float]],
    best: int,
    path: Path,
    face: Face,
) -> None:
    """Draw F1 against training steps into a PNG file.

    Args:
        points: (step, F1, lower and upper end of its interval), by step.
        losses: (step, loss on the same records), drawn on an axis of its own.
        best: the index of the point to mark.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 4), dpi=160, layout="constrained")
    axes = figure.add_subplot()
    steps, f1, low, high = zip(*points, strict=True)
    axes.fill_between(steps, low, high, color="#2f6f9f", alpha=0.18, linewidth=0)
    axes.plot(steps, f1, color="#2f6f9f", marker="o", label="Micro F1 (95 % interval)")
    step, chosen = points[best][:2]
    axes.plot([step], [chosen], "o", color="#c0504d", markersize=10, label=f"best: step {step}, {four(chosen)}")
    axes.set_xlabel("step")
    axes.set_ylabel("Micro F1")
    axes.set_title(_short(title, 80), fontproperties=face.properties(), fontsize=11, loc="left", parse_math=False)
    if losses:
        axes.plot([], [], color="#888888", linestyle="--", label="loss (right)")
        right = axes.twinx()
        right.plot(*zip(*losses, strict=True), color="#888888", linestyle="--", marker=".")
        right.spines["top"].set_visible(False)
    axes.spines["top"].set_visible(False)
    figure.legend(loc="outside lower center", ncols=3, fontsize=9, frameon=False)
    save(figure, path)


def save(figure: Any, path: Path, metadata: dict[str, None] | None = None) -> None:
    """Write a figure as PNG, all or nothing like every other file; ``metadata`` as matplotlib takes it."""
    temporary = temporary_of(path)
    try:
        figure.savefig(temporary, format="png", metadata=metadata)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _short(name: str, length: int = 40) -> str:
    """A name that leaves room for the bars."""
    return name if len(name) <= length else f"{name[: length - 1]}…"
