"""Processes told apart by more than their number, which the kernel gives out again (Linux; `man 5 proc`)."""

import os
import signal
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

PROC = Path("/proc")
# The environment variable with a server's mark: every process that the server starts inherits it.
MARK = "NER_SERVER"


@dataclass(frozen=True, slots=True)
class Process:
    """A running process: its number and start time (clock ticks since boot), which identify it, and its session."""

    pid: int
    started: int
    session: int = field(compare=False)


def boot() -> str:
    """The id of this boot: start times count from it."""
    return (PROC / "sys/kernel/random/boot_id").read_text().strip()


def find(pid: int) -> Process | None:
    """The process with this number; None if there is none, or only what is left of one (a zombie)."""
    try:
        fields = (PROC / str(pid) / "stat").read_text(errors="replace").rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] in "ZX" else Process(pid, int(fields[19]), int(fields[3]))


def command(pid: int) -> list[str]:
    """The words of a process's command; [] if it has ended."""
    try:
        words = (PROC / str(pid) / "cmdline").read_bytes().split(b"\0")
    except OSError:
        return []
    return [os.fsdecode(word) for word in words[:-1]]


def marked(pid: int, mark: str) -> bool:
    """Whether a process was started with this mark; not another user's."""
    try:
        return f"{MARK}={mark}".encode() in (PROC / str(pid) / "environ").read_bytes().split(b"\0")
    except OSError:
        return False


def running() -> Iterator[Process]:
    """All other processes."""
    for folder in PROC.iterdir():
        if folder.name.isdigit() and int(folder.name) != os.getpid() and (process := find(int(folder.name))):
            yield process


def send(process: Process, number: int) -> None:
    """Send a signal to this very process, or to none: its number may have been given to another."""
    with suppress(ProcessLookupError):
        handle = os.pidfd_open(process.pid)
        try:
            if find(process.pid) == process:
                signal.pidfd_send_signal(handle, number)
        finally:
            os.close(handle)
