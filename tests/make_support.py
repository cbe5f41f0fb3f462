"""Run make as a user does, in copies of the repository with nothing built, or with everything."""

import os
import re
import shutil
import subprocess
from pathlib import Path

from support import ROOT, tool

ENVIRONMENTS = (".venv", ".venv-train", ".venv-serve")
# If make tries to build an environment after all, it fails there and installs nothing.
NO_BUILD = "PYTHON=false"
# Variables that the Makefile takes from the environment; those of `make test` must not leak into the tests.
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


def link_environments(folder: Path, environments: tuple[str, ...] = ENVIRONMENTS) -> None:
    """Make the environments look built: their programs are links, their markers are newer than all their dependencies.

    The folders themselves belong to the copy, so nothing that make does to them reaches the real ones.
    """
    for environment in environments:
        tool(environment, "python")
        link(folder, *(f"{environment}/{name}" for name in ("bin", "lib", "pyvenv.cfg")))
        (folder / environment / ".locked").touch()
        (folder / environment / ".ready").touch()


def copy_with_demo(chain: Path, folder: Path) -> Path:
    """A copy of the repository with demo's data, taken from ``chain``, and everything built."""
    link(folder, "Makefile", "pyproject.toml", "requirements", "data/corpora", "data/nano", "recipes")
    link_environments(folder)
    for name in ("data/gold/demo", "data/alpaca"):
        shutil.copytree(chain / name, folder / name)
    return folder
