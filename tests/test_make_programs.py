"""Which commands the Makefile runs, in which order, and that what users write reaches them as it is."""

import os
import shlex
import signal
import subprocess
import time
from pathlib import Path

import pytest

from make_support import NO_BUILD, make

PROGRAMS = (
    ".venv/bin/ner-data",
    ".venv/bin/ner-eval",
    ".venv-train/bin/python",
    ".venv-serve/bin/ner-model",
    ".venv-quantize/bin/ner-model",
)
# Writes its words to the file `called`, each ended by a NUL, and a line end after the last.
STUB = '#!/bin/sh\n{ printf "%s\\0" "${0##*/}" "$@"; echo; } >>called\n'
HOSTILE = (
    "my folder",
    "a'b",
    'a"b',
    "a;touch hacked",
    "$(touch hacked)",
    "`touch hacked`",
    "$$x",
    "a|b",
    "a&b",
    "*",
    "%",
)
HOSTILE += (
    "x' ; touch hacked ; '",
    "$(shell touch hacked)",
    "${SHELL}",
    "a\\b",
    "(a)",
    "a,b",
    "~",
    "#x",
    "中文",
    "-n",
    "!!",
)


@pytest.fixture
def stubs(checkout: Path) -> Path:
    """A checkout whose programs only write down what they were called with."""
    for name in PROGRAMS:
        path = checkout / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(STUB)
        path.chmod(0o755)
        for marker in (".locked", ".ready"):
            (path.parent.parent / marker).touch()
    (checkout / "saves/nano/lora/demo").mkdir(parents=True)
    (checkout / "data/nano").mkdir(parents=True)
    (checkout / "data/nano/config.json").write_text("{}")
    return checkout


def called(folder: Path) -> list[list[str]]:
    """The calls of `stubs` since the last time, as lists of words."""
    path = folder / "called"
    calls = [line.split("\0")[:-1] for line in path.read_text().splitlines()] if path.exists() else []
    path.unlink(missing_ok=True)
    return calls


def make_with(stubs: Path, target: str, where: str, **variables: str) -> list[list[str]]:
    given = {"MODEL": "nano", "CORPUS": "demo"} | variables
    words = [f"{name}={value}" for name, value in given.items()] if where == "command line" else []
    done = make(target, "ACCELERATOR=cpu", NO_BUILD, *words, folder=stubs, **({} if words else given))
    assert done.returncode == 0, done.stderr
    return called(stubs)


@pytest.mark.parametrize("where", ["command line", "environment"])
def test_values_reach_the_programs_unchanged_and_nothing_is_executed(stubs: Path, where: str) -> None:
    tried = 0
    for text in HOSTILE:
        fetched = make_with(stubs, "data", where, RAW=text, CORPUS=text, FORM=text)
        assert fetched == [["ner-data", "convert", text, "--raw", text], ["ner-data", "alpaca", text, "--form", text]]
        *_, asked = make_with(stubs, "data", where, RAW="r", PROMPT_ARGS=f"--seed {text}")
        assert asked == ["ner-data", "alpaca", "demo", "--seed", *text.split()]
        report = make_with(stubs, "report", where, SPLIT=text, COMPARE=text)
        assert report == [["ner-eval", "report", f"runs/nano-lora-demo-{text}", "--compare", text]]
        serve = make_with(stubs, "serve", where, PORT=text, DTYPE=text)
        assert serve == [
            ["ner-model", "serve", "nano-lora-demo=saves/nano/lora/demo", "--port", text, "--dtype", text]
        ]
        listed, chosen = make_with(stubs, "select", where, PORT=text, DTYPE=text)
        assert listed == ["ner-eval", "select", "saves/nano/lora/demo", "--model", "nano-lora-demo", "--list"]
        assert chosen == [*listed[:-1], "--base-url", f"http://127.0.0.1:{text}/v1"]
        *_, train = make_with(stubs, "train", where, ARGS=f"a={text} b=c")
        assert train[-len(text.split()) - 1 :] == [*f"a={text}".split(), "b=c"]
        tried += 5
    assert tried == 5 * 22
    assert not (stubs / "hacked").exists()


@pytest.mark.parametrize("text", HOSTILE)
@pytest.mark.parametrize("variable", ["MODEL", "METHOD"])
def test_a_name_that_is_none_is_refused_in_one_line(stubs: Path, variable: str, text: str) -> None:
    words = [f"{name}={value}" for name, value in ({"MODEL": "nano"} | {variable: text}).items()]
    done = make("train", "ACCELERATOR=cpu", NO_BUILD, *words, folder=stubs)
    (message,) = [line for line in done.stderr.splitlines() if "***" not in line]
    assert done.returncode == 2 and message.startswith(f"{variable}={text}: ")
    assert not called(stubs) and not (stubs / "hacked").exists()


def test_raw_files_in_a_folder_with_a_space(stubs: Path) -> None:
    assert make_with(stubs, "data", "command line", RAW="my folder")[0][2:] == ["demo", "--raw", "my folder"]


def test_an_unknown_accelerator_is_refused(checkout: Path) -> None:
    done = make("train", "ACCELERATOR=gpu", NO_BUILD, folder=checkout)
    assert (done.returncode, done.stdout) == (2, "")
    assert "ACCELERATOR=gpu: must be cpu or cuda" in done.stderr and len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize("dataset", ["demo_train", "tcm_train,demo_train", "[demo_dev,tcm_train]"])
def test_several_data_sets_with_that_of_the_corpus_are_trained_on(stubs: Path, dataset: str) -> None:
    assert make_with(stubs, "train", "command line", ARGS=f"dataset={dataset}")[-1][-1] == f"dataset={dataset}"


def test_the_same_output_folder_may_be_given_twice(stubs: Path) -> None:
    train = make_with(stubs, "train", "command line", ADAPTER="saves/mine/", ARGS="output_dir=saves/mine/")[-1]
    assert [word for word in train if word.startswith("output_dir=")] == [
        "output_dir=saves/mine",
        "output_dir=saves/mine/",
    ]


def test_another_output_folder_is_trained_into_served_and_evaluated(stubs: Path) -> None:
    (stubs / "saves/mine").mkdir()
    (stubs / "data/alpaca").mkdir()
    (stubs / "data/alpaca/demo_train.json").write_text("[]")
    (stubs / "data/alpaca/dataset_info.json").write_text("{}")
    done = make("train", "serve", "eval", "MODEL=nano", "CORPUS=demo", "ACCELERATOR=cpu", NO_BUILD,
                "ARGS=output_dir=saves/mine max_steps=1", folder=stubs)  # fmt: skip
    assert done.stdout.splitlines()[0].startswith(
        "serve and evaluate it with: make serve eval MODEL=nano METHOD=lora CORPUS=demo ADAPTER='saves/mine'"
    )
    train, serve, predict, _ = called(stubs)
    assert [word for word in train if word.startswith("output_dir=")] == ["output_dir=saves/mine"] * 2
    assert serve[2] == "mine=saves/mine"
    assert predict[1:6] == ["predict", "--model", "mine", "--adapter", "saves/mine"]
    make(
        "serve", "eval", "ADAPTER=saves/mine/", "MODEL=nano", "CORPUS=demo", "ACCELERATOR=cpu", NO_BUILD, folder=stubs
    )
    assert called(stubs)[:2] == [serve, predict]


def test_a_merged_model_is_quantised_served_and_evaluated_under_a_name_of_its_own(stubs: Path) -> None:
    for scheme in ("awq", "int8"):
        (stubs / f"models/nano-lora-demo-{scheme}").mkdir(parents=True)
    (stubs / "models/nano-lora-demo").mkdir()
    done = make_with(stubs, "quantize", "command line", ARGS="--samples 9")  # without a GPU: int8
    folders = ["models/nano-lora-demo", "models/nano-lora-demo-int8"]
    assert done == [["ner-model", "quantize", *folders, "--scheme", "int8", "--samples", "9"]]
    (awq,) = make_with(stubs, "quantize", "environment", SCHEME="awq")
    assert awq[3:6] == ["models/nano-lora-demo-awq", "--scheme", "awq"]
    (serve,) = make_with(stubs, "serve", "command line", QUANTIZED="awq")
    assert serve[2] == "nano-lora-demo-awq=models/nano-lora-demo-awq"
    predict, score = make_with(stubs, "eval", "command line", QUANTIZED="awq")
    assert predict[1:6] == ["predict", "--model", "nano-lora-demo-awq", "--adapter", "models/nano-lora-demo-awq"]
    assert score[2] == "runs/nano-lora-demo-awq-test"
    (report,) = make_with(stubs, "report", "command line", QUANTIZED="awq")
    assert report[2] == "runs/nano-lora-demo-awq-test"


@pytest.mark.parametrize("method", ["lora", "full"])
def test_a_whole_model_is_converted_from_where_it_is(stubs: Path, method: str) -> None:
    (stubs / ".gguf").mkdir()
    (stubs / ".gguf/.ready").touch()
    (stubs / ".venv-train/bin/ner-model").write_text(STUB)
    (stubs / ".venv-train/bin/ner-model").chmod(0o755)
    folder = "models/nano-lora-demo" if method == "lora" else "saves/nano/full/demo"
    (stubs / folder).mkdir(parents=True)
    (convert,) = make_with(stubs, "gguf", "command line", METHOD=method)
    assert convert == ["ner-model", "export-gguf", folder, f"models/nano-{method}-demo-gguf"]


def test_what_quantize_prints_finds_the_model_again(stubs: Path) -> None:
    for folder in ("my adapter", "models/my adapter", "models/my adapter-int8"):
        (stubs / folder).mkdir(parents=True)
    given = ["MODEL=nano", "CORPUS=demo", "ACCELERATOR=cpu", NO_BUILD]
    done = make("quantize", *given, "ADAPTER=my adapter", folder=stubs)
    (said,) = done.stdout.splitlines()
    assert said.startswith("serve and evaluate it with: make serve eval QUANTIZED=int8 MODEL=nano ")
    called(stubs)
    words = shlex.split(said.partition(": make ")[2])
    done = make(*words, "ACCELERATOR=cpu", NO_BUILD, folder=stubs)
    assert done.returncode == 0, done.stderr
    assert called(stubs)[0][2] == "my adapter-int8=models/my adapter-int8"


# What the stub of ner-eval answers to `--list`.
LISTED = """#!/bin/bash
printf '%s\\0' ner-eval "$@" >>called; echo >>called
[[ $* == *--list* ]] && printf 'n@1=a folder/checkpoint-1\\nn@2=a folder/checkpoint-2\\n'
exit ${CODE:-0}
"""


@pytest.mark.parametrize("keep", [[], ["KEEP=1"]])
def test_select_serves_what_has_to_be_asked_asks_and_stops(stubs: Path, keep: list[str]) -> None:
    (stubs / ".venv/bin/ner-eval").write_text(LISTED)
    done = make("select", "MODEL=nano", "CORPUS=demo", "ACCELERATOR=cpu", "PORT=7", NO_BUILD, *keep, folder=stubs)
    assert done.returncode == 0, done.stderr
    _, serve, select, stop = called(stubs)
    words = ["n@1=a folder/checkpoint-1", "n@2=a folder/checkpoint-2"]
    assert serve == ["ner-model", "serve", *words, "--port", "7"]
    assert select == [
        "ner-eval", "select", "saves/nano/lora/demo", "--model", "nano-lora-demo", *(["--keep"] if keep else []),
        "--base-url", "http://127.0.0.1:7/v1",
    ]  # fmt: skip
    assert stop == ["ner-model", "stop", "--port", "7"]


def test_ctrl_c_in_select_stops_the_server(stubs: Path) -> None:
    (stubs / ".venv/bin/ner-eval").write_text(LISTED.replace("exit ", "[[ $* == *--list* ]] || sleep 60; exit "))
    calls = stubs / "called"
    words = ["make", "select", "MODEL=nano", "CORPUS=demo", "ACCELERATOR=cpu", "PORT=7", NO_BUILD]
    with subprocess.Popen(words, cwd=stubs, start_new_session=True, stderr=subprocess.DEVNULL) as run:
        until = time.monotonic() + 20
        while time.monotonic() < until and not (calls.exists() and "--base-url" in calls.read_text()):
            time.sleep(0.05)
        os.killpg(run.pid, signal.SIGINT)
        run.wait(20)
    *_, select, stop = called(stubs)
    assert select[-2] == "--base-url" and stop == ["ner-model", "stop", "--port", "7"]


def test_what_select_refuses_starts_no_server(stubs: Path) -> None:
    (stubs / ".venv/bin/ner-eval").write_text(LISTED)
    done = make("select", "MODEL=nano", "CORPUS=demo", "ACCELERATOR=cpu", NO_BUILD, folder=stubs, CODE="2")
    assert done.returncode == 2
    assert [words[-1] for words in called(stubs)] == ["--list"]


def test_a_server_that_does_not_start_is_not_stopped_by_select(stubs: Path) -> None:
    """The port may be that of another server, which must go on."""
    (stubs / ".venv/bin/ner-eval").write_text(LISTED)
    (stubs / ".venv-serve/bin/ner-model").write_text(
        "#!/bin/bash\nprintf '%s\\0' ner-model \"$@\" >>called; echo >>called\nexit 2\n"
    )
    done = make("select", "MODEL=nano", "CORPUS=demo", "ACCELERATOR=cpu", NO_BUILD, folder=stubs)
    assert done.returncode == 2
    assert [words[1] for words in called(stubs)] == ["select", "serve"]


def test_download_is_told_where_from(checkout: Path) -> None:
    done = make("-n", "download", "MODEL=qwen2-7b", "FROM=a folder", NO_BUILD, folder=checkout)
    assert done.stdout.splitlines()[-1] == ".venv-train/bin/ner-model download 'qwen2-7b' --from 'a folder'"


def test_a_training_is_planned_before_its_download_and_starts_whatever_the_plan_says(stubs: Path) -> None:
    """The stub of ner-model fails here, as a plan that knows nothing may."""
    (stubs / ".venv-train/bin/ner-model").write_text(
        "#!/bin/bash\nprintf '%s\\0' ner-model \"$@\" >>called; echo >>called\nexit 2\n"
    )
    (stubs / ".venv-train/bin/ner-model").chmod(0o755)
    plan, train = make_with(stubs, "train", "command line", ARGS="lora_rank=16")[-2:]
    assert plan[:4] == ["ner-model", "plan", "--last-line", "recipes/nano/lora.yaml"] and plan[-1] == "lora_rank=16"
    assert "train" in train


def test_another_base_model_needs_no_download(stubs: Path) -> None:
    (stubs / "data/nano/config.json").unlink()
    train = make_with(stubs, "train", "command line", ARGS="model_name_or_path=weights/other")[-1]
    assert not [word for word in train if word == "download"]
    assert [word for word in train if word.startswith("model_name_or_path=")] == [
        "model_name_or_path=weights/other"
    ] * 2
