"""make, run as a user runs it, in copies of the repository where it finds nothing built, or everything."""

import os
import re
import subprocess
from pathlib import Path

from support import ROOT, tool

ENVIRONMENTS = (".venv", ".venv-train", ".venv-serve")
# What the Makefile takes from the environment; `make test`, which tests may run in, must not decide it.
OURS = {"MAKEFLAGS", "MFLAGS", "MAKELEVEL", "MAKEOVERRIDES", "GNUMAKEFLAGS", "CORPUS", "MODEL", "METHOD", "ARGS"}


def make(
    *arguments: str, folder: Path = ROOT, timeout: float = 30, **variables: str
) -> subprocess.CompletedProcess[str]:
    """Run make; ``variables`` as environment."""
    environment = {name: value for name, value in os.environ.items() if name not in OURS} | variables
    return subprocess.run(
        ["make", *arguments], cwd=folder, env=environment, capture_output=True, text=True, timeout=timeout
    )


def targets() -> set[str]:
    """The targets of the Makefile that are commands, not files."""
    return set(re.findall(r"^([a-z][a-z0-9-]*):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))


def link(folder: Path, *names: str) -> None:
    """Put symbolic links to files and folders of the repository into a copy of it."""
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).symlink_to(ROOT / name)


def link_environments(folder: Path) -> None:
    """Let make find the environments built: their programs are links, their marks are newer than all they depend on.

    The folders themselves are the copy's own, so that nothing make might do to them reaches the real ones.
    """
    for environment in ENVIRONMENTS:
        tool(environment, "python")
        link(folder, *(f"{environment}/{name}" for name in ("bin", "lib", "pyvenv.cfg")))
        (folder / environment / ".locked").touch()
        (folder / environment / ".ready").touch()
