"""Histograms as SVG: shares of counted numbers, one curve per split."""

from collections import Counter
from collections.abc import Mapping
from html import escape
from math import ceil, log10

from ner_data.checking.terminal import quantile

_WIDTH, _HEIGHT, _LEFT, _BOTTOM, _TOP = 420, 200, 40, 36, 10
_BINS = 30


def histogram(title: str, series: Mapping[str, Counter[int]], cutoff: int = 0) -> str:
    """A figure with the share of each split's numbers in bins of one width; a line at ``cutoff`` if there is one.

    The axis ends where 99.5 % of all numbers lie; the last bin holds the others too.
    """
    together: Counter[int] = sum(series.values(), Counter())
    if not together:
        return ""
    end = max(quantile(together, 0.995), min(cutoff, max(together)) if cutoff else 0, 1)
    step = _round_up(ceil((end + 1) / _BINS))
    bins = end // step + 1
    shares = {split: _shares(counts, step, bins) for split, counts in series.items() if counts}
    highest = max(max(values) for values in shares.values())
    drawn = [_grid(step, bins, highest, max(together))]
    for order, split in enumerate(series):
        if split in shares:
            drawn.append(_curve(split, shares[split], order, step, highest, max(together)))
    if cutoff and cutoff <= step * bins:
        x = _LEFT + (_WIDTH - _LEFT) * cutoff / (step * bins)
        drawn.append(f'<line class="cutoff" x1="{x:.1f}" x2="{x:.1f}" y1="{_TOP}" y2="{_HEIGHT - _BOTTOM}"/>')
        anchor = "end" if x > _WIDTH / 2 else "start"
        drawn.append(f'<text x="{x:.1f}" y="{_TOP + 8}" text-anchor="{anchor}"> cutoff {cutoff:,} </text>')
    picture = f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{escape(title)}">{"".join(drawn)}</svg>'
    return f"<figure><figcaption>{escape(title)}</figcaption>{picture}</figure>"


def _round_up(step: int) -> int:
    """The next of 1, 2, 5, 10, 20, 50, …"""
    size = int(10 ** int(log10(step)))
    return next(size * factor for factor in (1, 2, 5, 10) if size * factor >= step)


def _shares(counts: Counter[int], step: int, bins: int) -> list[float]:
    values = [0.0] * bins
    for number, count in counts.items():
        values[min(number // step, bins - 1)] += count / counts.total()
    return values


def _y(share: float, highest: float) -> float:
    return _HEIGHT - _BOTTOM - (_HEIGHT - _BOTTOM - _TOP) * share / highest


def _grid(step: int, bins: int, highest: float, most: int) -> str:
    lines = []
    for part in (0, 0.5, 1):
        y = _y(part * highest, highest)
        lines.append(f'<line class="axis" x1="{_LEFT}" x2="{_WIDTH}" y1="{y:.1f}" y2="{y:.1f}"/>')
        lines.append(f'<text x="{_LEFT - 5}" y="{y + 4:.1f}" text-anchor="end">{part * highest:.0%}</text>')
    width = (_WIDTH - _LEFT) / bins
    every = max(1, ceil(bins / 8))
    for at in range(0, bins, every):
        x = _LEFT + width * (at + (0.5 if step == 1 else 0))
        lines.append(f'<text x="{x:.1f}" y="{_HEIGHT - 22}" text-anchor="middle">{at * step:,}</text>')
    lines.append(f'<text x="{_WIDTH}" y="{_HEIGHT - 5}" text-anchor="end">greatest {most:,}</text>')
    return "".join(lines)


def _curve(split: str, values: list[float], order: int, step: int, highest: float, most: int) -> str:
    """Bars for the first split, a stepped line for the others."""
    width = (_WIDTH - _LEFT) / len(values)
    shapes, points = [], []
    for at, share in enumerate(values):
        x, y = _LEFT + width * at, _y(share, highest)
        first, last = at * step, at * step + step - 1
        if at + 1 == len(values) and most > last:
            bounds = f"{first:,} or more"
        else:
            bounds = f"{first:,}" if first == last else f"{first:,} to {last:,}"
        tip = f"<title>{escape(split)}, {bounds}: {share:.1%}</title>"
        if order == 0:
            height = _HEIGHT - _BOTTOM - y
            shapes.append(f'<rect x="{x:.1f}" y="{y:.1f}" width="{width - 1:.1f}" height="{height:.1f}">{tip}</rect>')
        points += [f"{x:.1f},{y:.1f}", f"{x + width:.1f},{y:.1f}"]
    line = f'<polyline points="{" ".join(points)}"/>' if order else ""
    return f'<g class="s{order % 3}">{"".join(shapes)}{line}</g>'
