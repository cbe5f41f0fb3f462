"""Every way in which a stranger may edit a JSON document of ours, for the tests that read such files."""

import copy
import random
from collections.abc import Iterator
from typing import Any

DEEP: Any = "x"
for _ in range(100):
    DEEP = [DEEP]
# Values of every type, and those that break naive readers: huge, negative, almost right, hostile.
VALUES: tuple[Any, ...] = (
    None, True, False, 0, 1, -1, 7, 10**30, 0.5, -0.0, 1e308, "", "x", "0", "null", "\ud800", "\x00", "a\nb", "../../x",
    "\x1b[31m", "</script>", "|", "x" * 5000, [], {}, [1], ["x"], [[]], {"x": 1}, {"": None}, [None], DEEP,
)  # fmt: skip


def places(value: Any, at: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The path of every value in a document, the document's own first; of long lists the first two items."""
    yield at
    items = value.items() if isinstance(value, dict) else enumerate(value[:2]) if isinstance(value, list) else ()
    for key, inner in items:
        yield from places(inner, (*at, key))


def edits(value: Any, rng: random.Random) -> Iterator[tuple[str, Any]]:
    """Edited copies of a document, each with the edit in words: every value replaced, removed, doubled or shifted."""
    for at in places(value):
        for new in VALUES:
            yield f"{at} = {str(new)[:40]!r}", _changed(value, at, lambda _, new=new: new)
        if at:
            yield f"{at} removed", _without(value, at)
        own = _at(value, at)
        if isinstance(own, dict):
            yield f"{at} has one more", _changed(value, at, lambda old: {**old, "surprise": 1})
        if isinstance(own, list) and own:
            yield f"{at} doubled", _changed(value, at, lambda old: old + old)
            yield f"{at} shuffled", _changed(value, at, lambda old: rng.sample(old, len(old)))
        if isinstance(own, int | float) and not isinstance(own, bool):
            for step in (1, -1, rng.randint(2, 1000)):
                yield f"{at} + {step}", _changed(value, at, lambda old, step=step: old + step)


def _at(value: Any, at: tuple[Any, ...]) -> Any:
    for key in at:
        value = value[key]
    return value


def _changed(value: Any, at: tuple[Any, ...], change: Any) -> Any:
    if not at:
        return change(copy.deepcopy(value))
    value = copy.deepcopy(value)
    _at(value, at[:-1])[at[-1]] = change(_at(value, at))
    return value


def _without(value: Any, at: tuple[Any, ...]) -> Any:
    value = copy.deepcopy(value)
    del _at(value, at[:-1])[at[-1]]
    return value
