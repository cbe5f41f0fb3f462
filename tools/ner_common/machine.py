"""This machine's hardware, the number format that suits it, and its installed software."""

import os
import re
import subprocess
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import NamedTuple

CPUINFO = Path("/proc/cpuinfo")
# Instructions that multiply matrices of bfloat16, as Linux names them: Intel's AMX, AVX-512 (Intel and AMD), ARM's.
BF16_FLAGS = ("amx_bf16", "avx512_bf16", "bf16")


class NumberFormat(NamedTuple):
    """A number format by torch's name, and why it was chosen."""

    name: str
    why: str

    def said(self, override: str) -> str:
        """The line that tells a user what was chosen, and how to choose otherwise."""
        return f"number format: {self.name} ({self.why}); override with {override}"


def cpu_number_format(cpuinfo: Path = CPUINFO) -> NumberFormat:
    """The number format in which this machine's CPU trains and serves fastest: bfloat16 or float32.

    Without instructions for bfloat16, matrix products in it take about ten times as long as in float32. GPUs are not
    asked here: on them, the recipe and ``model.yaml`` decide.

    Args:
        cpuinfo: Linux's description of the processors; other systems have none, and get float32.
    """
    flags = cpu_flags(cpuinfo)
    if flags is None:
        return NumberFormat("float32", f"{cpuinfo} cannot be read, so bf16 instructions are unknown")
    if found := next((flag for flag in BF16_FLAGS if flag in flags), None):
        return NumberFormat("bfloat16", f"this CPU has {found}")
    return NumberFormat("float32", "this CPU has no bf16 instructions")


def cpu_flags(cpuinfo: Path = CPUINFO) -> frozenset[str] | None:
    """The instruction sets that all processors have, by Linux's names; None if they cannot be read."""
    try:
        lines = cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return None
    named = (line.partition(":") for line in lines)
    each = [frozenset(flags.split()) for name, _, flags in named if name.strip() in ("flags", "Features")]
    return frozenset.intersection(*each) if each else frozenset()


def gpu_capabilities() -> list[float]:
    """The compute capability of each NVIDIA GPU, such as 7.5; empty if nvidia-smi does not say."""
    found = output_of("nvidia-smi", "--query-gpu=compute_cap", "--format=csv,noheader").splitlines()
    return [float(line) for line in found if re.fullmatch(r"[0-9]{1,2}\.[0-9]", line.strip())]


@cache
def hardware() -> str:
    """The machine in words: its GPUs, or else its processor."""
    gpus = output_of("nvidia-smi", "--query-gpu=name", "--format=csv,noheader").splitlines()
    if gpus:
        return f"{len(gpus)} x {gpus[0]}"
    try:
        lines = CPUINFO.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:  # not Linux
        lines = []
    name = next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), "CPU")
    return f"{os.cpu_count()} cores {name}, no GPU"


def output_of(*command: str) -> str:
    """The output of a command, stripped; empty if the command is missing or fails."""
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return ""


def installed(distribution: str) -> str | None:
    """The installed version of a distribution, None if it is not installed."""
    try:
        return version(distribution)
    except PackageNotFoundError:
        return None
