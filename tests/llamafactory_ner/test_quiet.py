"""What a user sees of a training: steps, losses, what was written, one line for an error; the rest is in a named log."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from llamafactory_ner.progress import EVENTS
from llamafactory_ner.quiet import last_error

QUIET = [sys.executable, "-m", "llamafactory_ner.quiet"]
TELL = f"open(os.environ['{EVENTS}'], 'a').write(json.dumps(%s) + chr(10))\n"


@pytest.fixture
def fake(tmp_path: Path):
    """Run `quiet` with a llamafactory-cli that only runs a few lines of Python: no real one fails on demand."""
    (tmp_path / "recipe.yaml").write_text("output_dir: saves/a/lora/x\n")

    def build(body: str) -> list[str]:
        cli = tmp_path / "llamafactory-cli"
        cli.write_text(f"#!{sys.executable}\nimport json, os, signal, sys, time\n{body}")
        cli.chmod(0o755)
        return [*QUIET, str(cli), "train", "recipe.yaml"]

    return build


def run(command: list[str], folder: Path, *overrides: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*command, *overrides], cwd=folder, capture_output=True, text=True, timeout=60)


LOG = "log of llamafactory: saves/a/lora/x.log\n"


def test_losses_and_the_output_folder_are_shown_and_the_rest_is_in_the_log(fake, tmp_path: Path) -> None:
    told = "".join(
        TELL % event
        for event in (
            {"step": 0, "of": 2},
            {"step": 1, "of": 2, "loss": 0.5},
            {"say": "warning: \x1b[31mred\nlines"},
            {"step": 2, "of": 2, "eval_loss": 0.25},
        )
    )
    done = run(fake(f"print('much'); print('more', file=sys.stderr)\n{told}"), tmp_path)
    assert (done.returncode, done.stdout) == (0, "adapter: saves/a/lora/x\n")
    shown = "step 1/2: loss 0.5000\nllamafactory_ner: warning: \\u001b[31mred lines\nstep 2/2: eval_loss 0.2500\n"
    assert done.stderr == LOG + shown
    head, *lines = (tmp_path / "saves/a/lora/x.log").read_text().splitlines()
    assert head.startswith("== 20") and head.endswith(" train recipe.yaml") and sorted(lines) == ["more", "much"]


def test_every_run_is_appended_to_the_log_of_its_output_folder(fake, tmp_path: Path) -> None:
    for word in ("first", "second"):
        done = run(fake(f"print('{word}')"), tmp_path, "lora_rank=8", "output_dir=other/", "output_dir=saves/b/")
        assert done.stdout == "adapter: saves/b\n"
    text = (tmp_path / "saves/b.log").read_text()
    assert text.index("first") < text.index("second") and text.count("== 20") == 2
    assert not (tmp_path / "saves/b").exists() and not (tmp_path / "other").exists()


def test_a_failure_is_one_line_with_the_last_error_and_its_exit_code(fake, tmp_path: Path) -> None:
    done = run(fake("print('ValueError: old')\n"), tmp_path)
    done = run(fake("print('loading')\nraise RuntimeError('no\\x1b[2J memory')\n"), tmp_path)
    assert (done.returncode, done.stdout) == (1, "")
    said = "llamafactory_ner: train failed (exit code 1): RuntimeError: no\\x1b[2J memory; the log is saves/a/lora/x.log\n"
    assert done.stderr == LOG + said
    assert run(fake("sys.exit(7)"), tmp_path).returncode == 7


def test_a_killed_training_says_so(fake, tmp_path: Path) -> None:
    done = run(fake("os.kill(os.getpid(), signal.SIGKILL)"), tmp_path)
    assert done.returncode == 128 + 9
    assert done.stderr == LOG + (
        "llamafactory_ner: train was killed (signal 9; too little memory?); the log is saves/a/lora/x.log\n"
    )


def test_a_refusal_is_shown_once_with_exit_code_2_whatever_started_the_process(fake, tmp_path: Path) -> None:
    done = run(fake(TELL % {"refused": "lora_rank: no"} + "sys.exit(1)"), tmp_path)  # 1: torchrun's own
    assert (done.returncode, done.stdout, done.stderr) == (2, "", LOG + "llamafactory_ner: lora_rank: no\n")


def test_llamafactory_finds_the_torchrun_of_its_environment(fake, tmp_path: Path) -> None:
    told = TELL.replace("json.dumps(%s)", "json.dumps({'say': os.environ['PATH'].split(os.pathsep)[0]})")
    assert run(fake(told), tmp_path).stderr == f"{LOG}llamafactory_ner: {Path(sys.executable).parent}\n"


@pytest.mark.parametrize("stubborn", [False, True])
def test_ctrl_c_ends_both_and_exits_with_130(fake, tmp_path: Path, stubborn: bool) -> None:
    handler = "signal.signal(signal.SIGINT, signal.SIG_IGN)\n" if stubborn else ""
    command = fake(f"{handler}open('pid', 'w').write(str(os.getpid()))\ntime.sleep(60)")
    process = subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True, start_new_session=True)
    pid = tmp_path / "pid"
    while not (pid.exists() and pid.read_text()):
        time.sleep(0.05)
    for _ in range(1 + stubborn):  # a second one ends what ignores the first
        os.killpg(process.pid, signal.SIGINT)
        time.sleep(1)
    _, said = process.communicate(timeout=20)
    assert process.returncode == 130
    assert said == LOG + "llamafactory_ner: interrupted; the log is saves/a/lora/x.log\n"
    with pytest.raises(ProcessLookupError):
        os.kill(int(pid.read_text()), 0)


def test_an_ended_wrapper_ends_the_training(fake, tmp_path: Path) -> None:
    command = fake("open('pid', 'w').write(str(os.getpid()))\ntime.sleep(60)")
    process = subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.DEVNULL)
    pid = tmp_path / "pid"
    while not (pid.exists() and pid.read_text()):
        time.sleep(0.05)
    process.terminate()
    assert process.wait(20) == 128 + signal.SIGTERM
    with pytest.raises(ProcessLookupError):
        os.kill(int(pid.read_text()), 0)


@pytest.mark.parametrize(
    ("recipe", "words", "said"),
    [
        (None, [], "recipe.yaml: no such file; name a recipe"),
        ("a: [", [], "recipe.yaml: not YAML (line "),
        ("lora_rank: 8\n", [], "recipe.yaml: output_dir is None; name a folder"),
        ("output_dir: 5\n", [], "recipe.yaml: output_dir is 5; name a folder"),
        ("[1]\n", ["output_dir="], "recipe.yaml: output_dir is ''; name a folder"),
    ],
)
def test_a_recipe_without_an_output_folder_is_refused(
    fake, tmp_path: Path, recipe: str | None, words: list[str], said: str
) -> None:
    command = fake("print('started')")
    (tmp_path / "recipe.yaml").unlink()
    if recipe is not None:
        (tmp_path / "recipe.yaml").write_text(recipe)
    done = run(command, tmp_path, *words)
    (line,) = done.stderr.splitlines()
    assert done.returncode == 2 and line.startswith(f"llamafactory_ner: {said}")
    assert not (tmp_path / "saves").exists()


def test_a_log_that_cannot_be_written_is_one_line(fake, tmp_path: Path) -> None:
    (tmp_path / "saves").write_text("")
    done = run(fake("print('started')"), tmp_path)
    (line,) = done.stderr.splitlines()
    assert done.returncode == 2 and line.startswith("llamafactory_ner: saves")


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("x\n[rank1]: ValueError: one\nsubprocess.CalledProcessError: Command …\n", "ValueError: one"),
        ("torch.OutOfMemoryError: CUDA out of memory.\n", "torch.OutOfMemoryError: CUDA out of memory."),
        ("KeyError: 'a'\n 10%|█  | 1/2\rdone\n", "KeyError: 'a'"),
        ("Segmentation fault\n\n", "Segmentation fault"),
        ("", "it said nothing"),
        ("torch.distributed.elastic.multiprocessing.errors.ChildFailedError: \n====\n", "===="),
        ("ValueError: " + "x" * 1000, "ValueError: " + "x" * 285),
    ],
)
def test_the_last_error_of_a_log(tmp_path: Path, text: str, error: str) -> None:
    log = tmp_path / "log"
    log.write_text("ValueError: of an earlier run\n" + text, "utf-8")
    found = last_error(log, len("ValueError: of an earlier run\n"))
    assert found.startswith(error) and len(found) <= 300
