"""Work on all cores whose results come in the order of what went in: the same output for any number of workers."""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from functools import partial
from itertools import islice
from multiprocessing import get_context
from typing import Any, TypeVar

T = TypeVar("T")
R = TypeVar("R")


def cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


SMALL = 16 << 20  # bytes of a file that is read before other processes have started


def workers_for(size: int, asked: int = 0) -> int:
    """How many processes are worth starting for a file of so many bytes: as many as asked for, or one per core."""
    return asked or (1 if size < SMALL else cores())


def chunks(items: Iterable[T], size: int) -> Iterator[list[T]]:
    """Lists of ``size`` items, the last one shorter."""
    rest = iter(items)
    while chunk := list(islice(rest, size)):
        yield chunk


def in_order(
    work: Callable[[T], R],
    items: Iterable[T],
    workers: int,
    prepare: Callable[[Any], None] | None = None,
    shared: object = None,
) -> Iterator[R]:
    """Yield ``work(item)`` of each item, in their order; with one worker, in this process.

    ``prepare(shared)`` is called first, once in each worker: what is large goes there instead of into ``work``,
    which every item takes along. At most two items per worker are under way, so neither items nor results pile up.
    ``work`` and what it takes and returns must be picklable; an exception that it raises is raised here.
    """
    start = partial(prepare, shared) if prepare else None
    if workers < 2:
        if start:
            start()
        yield from map(work, items)
        return
    # Forked: callers compare hashes of texts, and an interpreter of its own would have another secret for them.
    with ProcessPoolExecutor(workers, get_context("fork"), initializer=start) as pool:
        waiting: deque[Future[R]] = deque()
        try:
            for item in items:
                waiting.append(pool.submit(work, item))
                if len(waiting) >= 2 * workers:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()
