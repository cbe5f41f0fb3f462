"""A folder that appears under its name only when it is whole."""

import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ner_data.errors import UserError, rooted


def check_free(target: Path) -> None:
    """Refuse a target that exists.

    Raises:
        UserError: something (a file, a folder, a dangling link) bears the name.
    """
    if target.exists() or target.is_symlink():
        raise UserError(f"{rooted(target)}: exists already; remove it or name another folder")


@contextmanager
def whole_folder(target: Path) -> Iterator[Path]:
    """Yield a temporary folder beside ``target`` that gets its name when the block ends without an error.

    After an error or Ctrl-C nothing is left; after a kill, a folder with ``.partial-`` in its name, which the next run
    points out.
    """
    check_free(target)
    for left in sorted(target.absolute().parent.glob(f"{target.name}.partial-*")):
        print(f"note: {rooted(left)} is left from an interrupted run; delete it", file=sys.stderr)
    partial = target.with_name(f"{target.name}.partial-{os.getpid()}")
    partial.mkdir(parents=True)
    try:
        yield partial
        partial.rename(target)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
