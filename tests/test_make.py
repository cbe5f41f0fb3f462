"""The Makefile: what it lists, and what it refuses before anything is built."""

import re
import shlex
from pathlib import Path

import pytest

from make_support import NO_BUILD, make, targets
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


@pytest.mark.parametrize(
    "target", ["download", "train", "train-qwen", "preview", "merge", "gguf", "serve", "eval", "report"]
)
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


@pytest.mark.parametrize("target", ["quantize", "gguf"])
@pytest.mark.parametrize(
    ("method", "missing", "first", "more"),
    [
        ("lora", "models/nano-lora-demo", "merge", ""),
        ("full", "saves/nano/full/demo", "train", ""),
        ("lora", "models/mine", "merge", " ADAPTER='saves/mine'"),
        ("full", "saves/mine", "train", " ADAPTER='saves/mine'"),
    ],
)
def test_only_a_whole_model_is_quantised_or_converted(
    checkout: Path, target: str, method: str, missing: str, first: str, more: str
) -> None:
    given = ["MODEL=nano", "CORPUS=demo", f"METHOD={method}", *(["ADAPTER=saves/mine"] if more else [])]
    message = refused(checkout, target, *given)
    said = f"{missing}: no such folder; only whole models are quantised or converted: make {first} "
    assert message == f"{said}MODEL=nano METHOD={method} CORPUS=demo{more}"


@pytest.mark.parametrize("target", ["serve", "eval", "predict-batch"])
def test_a_quantised_model_that_does_not_exist_is_refused(checkout: Path, target: str) -> None:
    message = refused(checkout, target, "MODEL=nano", "CORPUS=demo", "QUANTIZED=int8")
    said = "models/nano-lora-demo-int8: no such folder; quantise the merged model (make merge quantize SCHEME=int8 "
    assert message == said + "MODEL=nano METHOD=lora CORPUS=demo)"
    message = refused(checkout, target, "MODEL=nano", "CORPUS=demo", "QUANTIZED=int8", "ADAPTER=my adapter")
    assert message == said.replace("nano-lora-demo", "my adapter") + (
        "MODEL=nano METHOD=lora CORPUS=demo ADAPTER='my adapter')"
    )


@pytest.mark.parametrize("target", ["serve", "eval", "select"])
def test_an_adapter_that_does_not_exist_is_refused(checkout: Path, target: str) -> None:
    remedy = "no such folder; train the adapter (make train MODEL=nano METHOD=lora CORPUS=demo"
    message = refused(checkout, target, "MODEL=nano", "CORPUS=demo")
    assert message == f"saves/nano/lora/demo: {remedy}), or name its folder with ADAPTER=…"
    message = refused(checkout, target, "MODEL=nano", "CORPUS=demo", "ADAPTER=/non existent")
    assert message == f"/non existent: {remedy} ADAPTER='/non existent'), or name its folder with ADAPTER=…"


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
