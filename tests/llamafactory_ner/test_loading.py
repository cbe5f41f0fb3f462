"""The loading mechanism, through the real autowrapt in a fresh interpreter."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.train


def run_python(code: str, bootstrap: bool = True, **env: str) -> subprocess.CompletedProcess[str]:
    clean = {k: v for k, v in os.environ.items() if k != "AUTOWRAPT_BOOTSTRAP"}
    if bootstrap:
        clean["AUTOWRAPT_BOOTSTRAP"] = "llamafactory_ner"
    return subprocess.run([sys.executable, "-c", code], env=clean | env, capture_output=True, text=True, check=False)


def fake_llamafactory(folder: Path, version: str) -> None:
    package = folder / "llamafactory"
    (package / "hparams").mkdir(parents=True)
    (package / "__init__.py").write_text(f'__version__ = "{version}"\n')
    (package / "hparams" / "__init__.py").write_text("")
    (package / "hparams" / "finetuning_args.py").write_text("print('imported')\n")


def test_an_unknown_llamafactory_is_refused_in_one_line_before_anything_is_patched(tmp_path: Path) -> None:
    fake_llamafactory(tmp_path, "9.9.9")
    done = run_python("import llamafactory.hparams.finetuning_args", PYTHONPATH=str(tmp_path))
    assert done.returncode == 2
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert "9.9.9" in line and "0.9.5" in line


def test_without_the_variable_an_unknown_llamafactory_is_left_alone(tmp_path: Path) -> None:
    fake_llamafactory(tmp_path, "9.9.9")
    done = run_python("import llamafactory.hparams.finetuning_args", bootstrap=False, PYTHONPATH=str(tmp_path))
    assert (done.returncode, done.stdout, done.stderr) == (0, "imported\n", "")


def test_the_plugin_imports_nothing_heavy_into_a_process_that_does_not_use_llamafactory() -> None:
    code = "import sys; print(sorted({'torch', 'transformers', 'peft', 'llamafactory'} & set(sys.modules)))"
    assert run_python(code).stdout == "[]\n"


def test_a_missing_torchaudio_is_stood_in_for_inside_mm_plugin_only() -> None:
    code = """
import importlib.util, sys
if importlib.util.find_spec("torchaudio") is not None:
    import llamafactory.data.mm_plugin as mm_plugin, torchaudio
    print("real" if mm_plugin.torchaudio is torchaudio else "replaced")
    sys.exit()
import llamafactory.data.mm_plugin as mm_plugin
from transformers.utils import is_torchaudio_available
print("torchaudio" in sys.modules, importlib.util.find_spec("torchaudio"), is_torchaudio_available())
try:
    mm_plugin.torchaudio.load
except AttributeError as error:
    print(error)
"""
    done = run_python(code)
    assert done.returncode == 0, done.stderr
    if done.stdout == "real\n":
        return  # if there is a real one (CUDA), that is used
    first, second = done.stdout.splitlines()
    assert first == "False None False"
    assert "torchaudio is not installed" in second
