"""What a training tells `llamafactory_ner.quiet`, which shows it instead of llamafactory's log.

Events are lines of JSON that every process appends to the file named by the environment variable `EVENTS`::

    {"say": "warning: …"}  {"refused": "…"}  {"step": 20, "of": 1800, "loss": 0.45}
"""

import json
import math
import os
from pathlib import Path
from typing import Any

EVENTS = "LLAMAFACTORY_NER_EVENTS"


def emit(**event: Any) -> bool:
    """Tell an event; False if nobody listens. One short write per line, so lines of several processes stay whole."""
    path = os.environ.get(EVENTS)
    if not path:
        return False
    try:
        with Path(path).open("ab", buffering=0) as file:
            file.write(json.dumps(event).encode() + b"\n")
    except OSError:  # a full disk must not end a training
        return False
    return True


def reporter() -> list[Any]:
    """The Trainer callback that tells steps and losses, if somebody listens."""
    if not os.environ.get(EVENTS):
        return []
    from transformers import TrainerCallback

    class Reporter(TrainerCallback):  # type: ignore[misc]
        def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            self.on_step_end(args, state, control)

        def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            if state.is_world_process_zero:
                emit(step=state.global_step, of=state.max_steps)

        def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, Any] | None = None, **_: Any) -> None:
            losses = {name: (logs or {}).get(name) for name in ("loss", "eval_loss")}
            # JSON has no not-a-number, which a loss is once weights have overflowed.
            told = {k: v if math.isfinite(v) else None for k, v in losses.items() if isinstance(v, float)}
            if state.is_world_process_zero and told:
                emit(step=state.global_step, of=state.max_steps, **told)

    return [Reporter()]
