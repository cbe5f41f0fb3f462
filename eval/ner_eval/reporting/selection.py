"""What `ner-eval select` shows and writes: a table, the picture ``f1.png`` of F1 against steps, and ``select.json``::

    {"version": 1, "adapter": "saves/nano/lora/demo", "corpus": "demo", "records": 200, "protocol": "text",
     "reading": "lenient", "best": "checkpoint-400", "checkpoints": [
       {"name": "checkpoint-200", "step": 200, "epoch": 0.44, "loss": 0.31, "weights": "0f3a…", "run": "200-0f3a51c2",
        "tp": 271, "fp": 60, "fn": 112, "f1": 0.7591, "interval": [0.72, 0.79], "refused": 0,
        "difference": {"f1": -0.08, "low": -0.11, "high": -0.05, "p": 0.002}}, …]}

``difference`` is to the last one (paired bootstrap); null for the last itself.
"""

import sys
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from ner_common.errors import UserError, rooted
from ner_common.files import write_json
from ner_eval.checkpoints.selection import READING, Selection
from ner_eval.metrics.protocols import TEXT
from ner_eval.reporting import plot
from ner_eval.reporting.fonts import chinese_face
from ner_eval.reporting.terminal import table

RESULT, PICTURE = "select.json", "f1.png"


def write(selection: Selection) -> None:
    """Write `RESULT` and, if it can be drawn, `PICTURE`."""
    rows = [
        {
            **{name: getattr(one.candidate, name) for name in ("name", "step", "epoch", "loss", "weights")},
            "run": one.run.name,
            **{name: getattr(one.counts, name) for name in ("tp", "fp", "fn", "f1")},
            "interval": one.interval,
            "refused": one.refused,
            "difference": asdict(one.scored.difference) if one.scored.difference else None,
        }
        for one in selection.judged
    ]
    head = {"version": 1, "adapter": str(selection.adapter), "corpus": selection.corpus, "records": selection.records}
    chosen = {"protocol": TEXT.name, "reading": READING, "best": selection.best.candidate.name}
    write_json(selection.folder / RESULT, {**head, **chosen, "checkpoints": rows})
    points = [(one.candidate.step, one.counts.f1, *one.interval) for one in selection.judged]
    losses = [(one.candidate.step, one.candidate.loss) for one in selection.judged if one.candidate.loss is not None]
    try:
        face = chinese_face()
    except UserError as error:
        print(f"no {PICTURE}: {error}", file=sys.stderr)
        return
    title = f"{rooted(selection.adapter)} · {selection.records} held-out records of {selection.corpus}"
    plot.draw_steps(title, points, losses, selection.judged.index(selection.best), selection.folder / PICTURE, face)


def describe(selection: Selection) -> Iterator[str]:
    """The lines that `ner-eval select` prints."""
    losses = any(one.candidate.loss is not None for one in selection.judged)
    rows: list[tuple[Any, ...]] = []
    for one in selection.judged:
        difference = one.scored.difference
        figures = (one.counts.precision, one.counts.recall, one.counts.f1)
        low, high = one.interval
        shown = ("", "", "")
        if difference:
            spread = f"[{difference.low:+.4f}, {difference.high:+.4f}]"
            shown = (f"{difference.f1:+.4f}", spread, f"{difference.p:.3f}")
        epoch = "–" if one.candidate.epoch is None else f"{one.candidate.epoch:.2f}"
        loss = ["–" if one.candidate.loss is None else f"{one.candidate.loss:.4f}"] if losses else []
        mark = "best" if one is selection.best and one.counts.tp else ""
        rows.append((one.candidate.name, epoch, *loss, *figures, f"[{low:.4f}, {high:.4f}]", *shown, mark))
    loss_column = ["Loss"] if losses else []
    columns = ["Checkpoint", "Epoch", *loss_column, "Precision", "Recall", "Micro F1", "95% interval"]
    yield f"{rooted(selection.adapter)}: {selection.records} held-out records of {selection.corpus}, text protocol"
    yield table(rows, [*columns, "vs last", "95% interval", "p", ""])
    files = [selection.folder / RESULT, selection.folder / PICTURE]
    yield f"written: {', '.join(rooted(path) for path in files if path.is_file())}"
    best = selection.best.candidate.name
    if selection.changed is not None:
        done = "holds it now; restart a server that serves it" if selection.changed else "held it already"
        yield f"best: {best}; {rooted(selection.adapter)} {done}"
    elif not selection.best.counts.tp:
        yield f"no checkpoint finds an entity; {rooted(selection.adapter)} stays as it is"
    elif not selection.refused:
        yield f"best: {best}; {rooted(selection.adapter)} stays as it is (--keep)"
