"""The number format that suits a CPU, from what Linux says of it."""

import re
from pathlib import Path

import pytest

from ner_common.machine import BF16_FLAGS, cpu_flags, cpu_number_format
from support import ROOT

X86 = "processor\t: {n}\nmodel name\t: Some CPU\nflags\t\t: fpu sse2 avx avx2 fma{more}\nbugs\t\t: spectre_v1 bf16\n\n"
ARM = "processor\t: {n}\nBogoMIPS\t: 2100.00\nFeatures\t: fp asimd fphp asimddp sve i8mm{more}\nCPU part\t: 0xd40\n\n"
NONE = "this CPU has no bf16 instructions"
# fmt: off
MACHINES = {
    "AVX2 only": ([X86.format(n=0, more=""), X86.format(n=1, more="")], "float32", NONE),
    "AVX-512 without bf16": ([X86.format(n=0, more=" avx512f avx512bw avx512_vnni")], "float32", NONE),
    "AVX-512 with bf16": ([X86.format(n=0, more=" avx512f avx512_bf16")], "bfloat16", "this CPU has avx512_bf16"),
    "AMX": ([X86.format(n=0, more=" avx512_bf16 amx_tile amx_bf16")], "bfloat16", "this CPU has amx_bf16"),
    "ARM with bf16": ([ARM.format(n=0, more=" bf16")], "bfloat16", "this CPU has bf16"),
    "ARM without bf16": ([ARM.format(n=0, more="")], "float32", NONE),
    "one core of two": ([ARM.format(n=0, more=" bf16"), ARM.format(n=1, more="")], "float32", NONE),
    "conversions only": ([X86.format(n=0, more=" avx_ne_convert avx512_bf16x")], "float32", NONE),
    "no flags": (["processor\t: 0\nmodel name\t: bf16 avx512_bf16\n"], "float32", NONE),
    "nothing": ([""], "float32", NONE),
    "garbage": (["\udcff\udcfe\0flags avx512_bf16\nflags\n: amx_bf16\n"], "float32", NONE),
}
# fmt: on


@pytest.mark.parametrize("machine", MACHINES)
def test_bfloat16_is_chosen_where_every_core_multiplies_in_it(tmp_path: Path, machine: str) -> None:
    lines, name, why = MACHINES[machine]
    path = tmp_path / "cpuinfo"
    path.write_text("".join(lines), encoding="utf-8", errors="surrogateescape")
    chosen = cpu_number_format(path)
    assert chosen == (name, why)
    assert chosen.said("x=y") == f"number format: {name} ({why}); override with x=y"


def test_a_machine_that_does_not_describe_its_cpu_gets_float32(tmp_path: Path) -> None:
    for path in (tmp_path / "missing", tmp_path):  # not Linux; a folder: cannot be read
        assert cpu_number_format(path) == ("float32", f"{path} cannot be read, so bf16 instructions are unknown")


def test_only_instructions_of_all_cores_count(tmp_path: Path) -> None:
    path = tmp_path / "cpuinfo"
    path.write_text(X86.format(n=0, more=" avx512f") + X86.format(n=1, more=" bmi2"))
    assert cpu_flags(path) == {"fpu", "sse2", "avx", "avx2", "fma"}
    assert cpu_flags(tmp_path / "missing") is None


@pytest.mark.parametrize("language", ["en", "zh"])
def test_the_guide_names_the_instructions_that_are_looked_for(language: str) -> None:
    page = (ROOT / f"docs/{language}/how-to/training.md").read_text(encoding="utf-8")
    (row,) = [line for line in page.splitlines() if BF16_FLAGS[0] in line]
    assert re.findall(r"`(\w+)`", row) == list(BF16_FLAGS)
