"""The Makefile: what it lists, what it refuses before anything is built, and which commands it runs."""

import os
import re
import shlex
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest

from make_support import link, make, targets
from ner_models.base_models import base_model_of, load_base_model
from support import ROOT

INTERNAL = {
    "known-model",
    "known-recipe",
    "known-run",
    "known-merge",
    "known-adapter",
    "known-merged",
    "known-scheme",
    "need-gpu",
    "run-demo",
}  # steps of other targets
MODELS = sorted(path.parent.name for path in (ROOT / "recipes").glob("*/model.yaml"))
# If make tries to build an environment after all, it fails there and installs nothing.
NO_BUILD = "PYTHON=false"


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """The parts of the repository that make needs, without environments, corpora and models."""
    link(tmp_path, "Makefile", "pyproject.toml", "requirements")
    shutil.copytree(ROOT / "recipes", tmp_path / "recipes")
    return tmp_path


def test_help_lists_every_public_target_with_one_line() -> None:
    done = make("help")
    assert done.returncode == 0, done.stderr
    described = re.findall(r"^  make ([a-z0-9-]+) +\S.*$", done.stdout, re.MULTILINE)
    assert sorted(described) == sorted(targets() - INTERNAL)
    headings = re.findall(r"^\S.*$", done.stdout, re.MULTILINE)
    assert len(headings) == 5
    assert len(done.stdout.splitlines()) == len(headings) + len(described) + len(MODELS)


def test_help_lists_the_base_models_with_their_methods() -> None:
    listed = dict(re.findall(r"^  MODEL=(\S+) +METHOD=(.*)$", make("help").stdout, re.MULTILINE))
    assert sorted(listed) == MODELS
    for model, methods in listed.items():
        recipes = {path.stem for path in (ROOT / "recipes" / model).glob("*.yaml")}
        assert set(methods.split()) == recipes - {"model", "merge"}


@pytest.mark.parametrize("arguments", [["train-qwen"], ["train-qwen", "MODEL=qwen2.5-7b"], ["train-chatglm3"]])
def test_a_7b_model_without_a_gpu_is_refused_before_anything_is_built(checkout: Path, arguments: list[str]) -> None:
    message = refused(checkout, *arguments, "ACCELERATOR=cpu")
    assert "needs a GPU" in message
    assert "`make demo`" in message


def refused(checkout: Path, *arguments: str) -> str:
    """The one line that make prints when it refuses, having built nothing."""
    before = sorted(checkout.iterdir())
    done = make(*arguments, NO_BUILD, folder=checkout)
    assert done.returncode == 2
    (message,) = [line for line in done.stderr.splitlines() if "***" not in line]  # *** is make's own
    assert done.stdout == ""
    assert sorted(checkout.iterdir()) == before
    return message


@pytest.mark.parametrize("target", ["download", "train", "train-qwen", "preview", "merge", "serve", "eval", "report"])
def test_a_model_without_a_folder_is_refused_with_those_that_exist(checkout: Path, target: str) -> None:
    message = refused(checkout, target, "MODEL=qwen9")
    assert message == f"MODEL=qwen9: no recipes/qwen9/model.yaml; known: {' '.join(MODELS)}"


@pytest.mark.parametrize("method", ["adalora", "model", "merge"])
@pytest.mark.parametrize("target", ["train", "preview"])
def test_a_method_without_a_recipe_is_refused_with_those_that_exist(checkout: Path, target: str, method: str) -> None:
    message = refused(checkout, target, "MODEL=nano", f"METHOD={method}")
    said, _, known = message.partition("; known: ")
    assert said == f"METHOD={method}: not a recipe in recipes/nano"
    assert {"lora", "qlora", "dora", "full"} <= set(known.split())


def test_a_model_without_a_merge_recipe_is_refused(checkout: Path) -> None:
    (checkout / "recipes/nano/merge.yaml").unlink()
    assert refused(checkout, "merge", "MODEL=nano").startswith("recipes/nano/merge.yaml: no such file; copy it")


def test_a_scheme_that_does_not_exist_is_refused(checkout: Path) -> None:
    message = refused(checkout, "quantize", "MODEL=nano", "CORPUS=demo", "SCHEME=int4 x")
    assert message == "SCHEME=int4 x: no such scheme; known: awq int8"


def test_what_make_can_quantise_is_what_the_program_can() -> None:
    from ner_models.schemes import SCHEMES

    (listed,) = re.findall(r"^SCHEMES = (.*)$", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    assert listed.split() == list(SCHEMES)


@pytest.mark.parametrize(
    ("method", "missing", "first"),
    [("lora", "models/nano-lora-demo", "merge"), ("full", "saves/nano/full/demo", "train")],
)
def test_only_a_whole_model_is_quantised(checkout: Path, method: str, missing: str, first: str) -> None:
    message = refused(checkout, "quantize", "MODEL=nano", "CORPUS=demo", f"METHOD={method}")
    assert message == (
        f"{missing}: no such folder; only whole models are quantised: make {first} MODEL=nano METHOD={method} CORPUS=demo"
    )


@pytest.mark.parametrize("target", ["serve", "eval", "predict-batch"])
def test_a_quantised_model_that_does_not_exist_is_refused(checkout: Path, target: str) -> None:
    message = refused(checkout, target, "MODEL=nano", "CORPUS=demo", "QUANTIZED=int8")
    said = "models/nano-lora-demo-int8: no such folder; quantise the merged model (make merge quantize SCHEME=int8 "
    assert message == said + "MODEL=nano METHOD=lora CORPUS=demo)"


@pytest.mark.parametrize("target", ["serve", "eval", "select"])
def test_an_adapter_that_does_not_exist_is_refused(checkout: Path, target: str) -> None:
    remedy = (
        "no such folder; train the adapter (make train MODEL=nano METHOD=lora CORPUS=demo), or name its folder with"
    )
    message = refused(checkout, target, "MODEL=nano", "CORPUS=demo")
    assert message == f"saves/nano/lora/demo: {remedy} ADAPTER=…"
    message = refused(checkout, target, "MODEL=nano", "CORPUS=demo", "ADAPTER=/non existent")
    assert message == f"/non existent: {remedy} ADAPTER=…"


def test_two_different_output_folders_are_refused(checkout: Path) -> None:
    for target in ("train", "demo"):
        given = ["MODEL=nano", "CORPUS=demo", "ADAPTER=/tmp/a /tmp/b", "ARGS=max_steps=1 output_dir=/tmp/b"]
        message = refused(checkout, target, *given)
        assert message == "ADAPTER=/tmp/a /tmp/b and output_dir=/tmp/b: different folders; give only one of them"


@pytest.mark.parametrize(
    ("dataset", "corpus"),
    [("tcm_train", "tcm"), ("tcm_train,my_demo_train", "tcm"), ("demo_x_train", "demo_x"), ("[tcm_train]", "tcm")],
)
def test_a_data_set_of_another_corpus_is_refused(checkout: Path, dataset: str, corpus: str) -> None:
    message = refused(checkout, "train", "MODEL=nano", "CORPUS=demo", f"ARGS=dataset={dataset}")
    both = f"or add its own: dataset=demo_train,{dataset.strip('[]')}"
    assert message == f"dataset={dataset}: not of CORPUS=demo; set CORPUS={corpus} instead, {both}"


@pytest.mark.parametrize("quote", ["", "'", '"'])
def test_weights_are_read_with_both_quotes(checkout: Path, quote: str, monkeypatch: pytest.MonkeyPatch) -> None:
    path = checkout / "recipes/nano/model.yaml"
    text = path.read_text(encoding="utf-8")
    path.write_text(text.replace("weights: data/nano ", f"weights: {quote}models/x{quote} # the folder "))
    done = make("-n", "preview", "MODEL=nano", NO_BUILD, folder=checkout)
    assert "'model_name_or_path=models/x' " in done.stdout
    monkeypatch.chdir(checkout)
    assert base_model_of(Path("models/x")) == load_base_model("nano")


@pytest.mark.parametrize("line", ["weights:", "needs_gpu:", "needs_gpu: maybe"])
def test_a_model_file_that_make_cannot_read_is_refused(checkout: Path, line: str) -> None:
    path = checkout / "recipes/nano/model.yaml"
    path.write_text(re.sub(f"^{line.split()[0]}.*$", line, path.read_text(encoding="utf-8"), flags=re.MULTILINE))
    assert refused(checkout, "train", "MODEL=nano").startswith("recipes/nano/model.yaml: needs the lines `weights: ")


@pytest.mark.parametrize("model", MODELS)
def test_make_reads_what_the_programs_read(model: str, checkout: Path) -> None:
    known = load_base_model(model)
    done = make("-n", "train", f"MODEL={model}", "ACCELERATOR=cuda", NO_BUILD, folder=checkout)
    words = shlex.split(done.stdout)
    at = words.index("train", words.index(".venv-train/bin/llamafactory-cli"))
    assert words[at : at + 3] == ["train", f"recipes/{model}/lora.yaml", f"model_name_or_path={known.weights}"]
    code = make("need-gpu", f"MODEL={model}", "ACCELERATOR=cpu", folder=checkout).returncode
    assert code == (2 if known.needs_gpu else 0)


@pytest.mark.parametrize(
    ("model", "accelerator"), [("nano", "cpu"), ("qwen2.5-0.5b", "cpu"), ("qwen2-7b", "cuda"), ("chatglm3-6b", "cuda")]
)
def test_a_small_model_or_a_gpu_is_not_refused(checkout: Path, model: str, accelerator: str) -> None:
    done = make("need-gpu", f"MODEL={model}", f"ACCELERATOR={accelerator}", folder=checkout)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize(
    ("arguments", "variables", "method"),
    [
        ([], {}, "prefix_tuning"),
        (["METHOD=lora"], {}, "lora"),
        ([], {"METHOD": "p_tuning"}, "p_tuning"),
        (["METHOD=lora"], {"METHOD": "p_tuning"}, "lora"),
    ],
)
def test_train_chatglm3_takes_the_method_it_is_given(
    checkout: Path, arguments: list[str], variables: dict[str, str], method: str
) -> None:
    # -n goes through to the make inside, which then prints what it would run.
    done = make("-n", "train-chatglm3", "ACCELERATOR=cuda", NO_BUILD, *arguments, folder=checkout, **variables)
    assert re.findall(r"llamafactory-cli train '(\S+)'", done.stdout) == [f"recipes/chatglm3-6b/{method}.yaml"]


@pytest.mark.parametrize("method", ["lora", "peft_lora"])
def test_a_tracker_is_named_to_both_trainers_and_gets_the_scores(checkout: Path, method: str) -> None:
    (checkout / f"saves/nano/{method}/demo").mkdir(parents=True)
    asked = ("-n", "train", "eval", "MODEL=nano", f"METHOD={method}", "CORPUS=demo", "ACCELERATOR=cpu", NO_BUILD)
    words = shlex.split(make(*asked, "TRACK=tensorboard", folder=checkout).stdout)
    assert words.count("report_to=tensorboard") == 1
    at = words.index("track")
    run = f"runs/nano-{method}-demo-test"
    assert words[at - 1 : at + 4] == [".venv-train/bin/ner-eval", "track", run, "--tracker", "tensorboard"]
    plain = shlex.split(make(*asked, folder=checkout).stdout)
    assert "track" not in plain and not any(word.startswith("report_to=") for word in plain)


@pytest.mark.parametrize("value", ["tensorbord", "tensorboard wandb", "$(shell touch built)"])
def test_an_unknown_tracker_is_refused(checkout: Path, value: str) -> None:
    done = make("train", f"TRACK={value}", NO_BUILD, folder=checkout)
    assert (done.returncode, done.stdout) == (2, "") and not (checkout / "built").exists()
    (line,) = done.stderr.splitlines()
    assert f"TRACK={value}: must be tensorboard, swanlab or wandb" in line


@pytest.mark.parametrize(("method", "program"), [("peft_lora", "ner-model"), ("lora", "llamafactory-cli")])
def test_a_recipe_is_trained_by_what_its_finetuning_type_names(checkout: Path, method: str, program: str) -> None:
    """The content decides, not the name: a copy under another name is trained by the same program."""
    (checkout / "recipes/nano/mine.yaml").write_text((checkout / f"recipes/nano/{method}.yaml").read_text("utf-8"))
    for name in (method, "mine"):
        done = make("-n", "train", "MODEL=nano", f"METHOD={name}", "ACCELERATOR=cpu", NO_BUILD, folder=checkout)
        words = shlex.split(done.stdout)
        at = words.index("llamafactory_ner.quiet")
        assert words[at : at + 4] == [
            "llamafactory_ner.quiet",
            f".venv-train/bin/{program}",
            "train",
            f"recipes/nano/{name}.yaml",
        ]


# --- what users write reaches the programs as it is --------------------------------------------------------------------

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
    assert done.stdout.splitlines()[0].startswith("serve and evaluate it with: make serve eval ADAPTER='saves/mine' ")
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
