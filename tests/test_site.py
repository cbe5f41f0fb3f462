"""The pages of docs/: both languages say the same, their commands are real, what is generated is complete."""

import argparse
import html
import importlib
import json
import re
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from make_support import make, targets
from ner_docs import GENERATED, LANGUAGES, LINE, assemble, commands, messages, names, page, recipes
from support import ROOT, Result, free_port
from test_readme import FENCE, PAGES, PROGRAMS, Cli, blocks, read, tables

GPU = {"en": "# needs a GPU", "zh": "# 需要 GPU"}
DOCKER = {"en": "# needs Docker", "zh": "# 需要 Docker"}
# Targets that load the base model, which may need a GPU.
LOADING = {
    "train",
    "train-qwen",
    "train-chatglm3",
    "merge",
    "serve",
    "reload",
    "eval",
    "predict-batch",
    "select",
    "quantize",
}
OTHERS = {"curl", "echo", "docker"}  # programs in the pages that are neither ours nor make
SHELL = re.compile(r"\s(?:>|\|).*")


def language(name: str) -> str:
    return name.split("/")[1]


def lines(code: str) -> Iterator[list[str]]:
    """The commands of a block, as words: without comments, redirections and variables before them."""
    for line in code.splitlines():
        words = shlex.split(SHELL.sub("", line), comments=True)
        while words and re.match(r"[A-Z_]+=", words[0]):
            words = words[1:]
        if words:
            yield words


def bash(name: str) -> list[str]:
    return [code for kind, code in blocks(read(name)) if kind == "bash"]


def test_both_languages_have_the_same_pages_all_of_them_in_the_navigation() -> None:
    assert names("en") == names("zh") and len(names("en")) > 20
    for code in LANGUAGES:
        assert sorted(re.findall(r'"([\w/-]+\.md)"', read(f"docs/zensical.{code}.toml"))) == names(code)


@pytest.mark.parametrize("name", names("en"))
def test_a_page_has_the_same_structure_and_code_in_both_languages(name: str) -> None:
    shapes = []
    for code in LANGUAGES:
        whole = read(f"docs/{code}/{name}")
        text = FENCE.sub("```", whole)
        shapes.append(
            {
                "structure": re.findall(r"^ *(#+ |```|- |\d\. |\| ---)", text, re.MULTILINE),
                "cells": [[len(row) for row in table] for table in tables(whole)],
                "code": [(kind, re.sub(r"#.*", "", block).split()) for kind, block in blocks(whole)],
                "generated": LINE.findall(whole),
                "links": re.findall(r"\]\(([^)]+)\)", text),
                "figures": sorted(re.findall(r"\d+\.\d{4}", text)),
            }
        )
    assert shapes[0] == shapes[1]


@pytest.mark.parametrize("name", names("zh"))
def test_lines_of_chinese_pages_break_where_a_space_does_no_harm(name: str) -> None:
    """Browsers show a line break as a space, which must not separate two Chinese characters."""
    text = FENCE.sub("", read(f"docs/zh/{name}"))
    assert not re.findall(r"[\u4e00-\u9fff]\n *[\u4e00-\u9fff].*", text)


@pytest.mark.parametrize("name", PAGES)
def test_every_command_is_one_that_its_program_accepts(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    for code in bash(name):
        for program, *words in lines(code):
            program = Path(program).name
            if program in PROGRAMS:
                parser = commands.parser_of(program, words[0])
                try:
                    _, rest = parser.parse_known_args(words[1:])
                except SystemExit:
                    pytest.fail(f"{words}: {capsys.readouterr().err}")
                assert all("=" in word for word in rest), words
            elif program == "make":
                given = dict(word.split("=", 1) for word in words if re.match(r"[A-Z_]+=", word))
                assert {word for word in words if "=" not in word} <= targets(), words
                folder = ROOT / "recipes" / given.get("MODEL", "qwen2-7b")
                assert (folder / f"{given.get('METHOD', 'lora')}.yaml").is_file(), words
            else:
                assert program in OTHERS, program


def needs_gpu(words: list[str]) -> bool:
    """Whether a command loads a model that only a GPU runs."""
    if words[0] != "make" or not set(words) & LOADING:
        return False
    model = next((word[6:] for word in words if word.startswith("MODEL=")), "qwen2-7b")
    model = "chatglm3-6b" if "train-chatglm3" in words else model
    return bool(yaml.safe_load(read(f"recipes/{model}/model.yaml"))["needs_gpu"])


@pytest.mark.parametrize("name", PAGES)
def test_commands_that_need_a_gpu_say_so(name: str) -> None:
    for code in bash(name):
        marked = code.startswith(f"{GPU[language(name)]}\n")
        assert marked == any(needs_gpu(words) for words in lines(code)), code


@pytest.mark.parametrize("name", PAGES)
def test_commands_of_docker_say_that_they_need_it(name: str) -> None:
    for code in bash(name):
        marked = code.startswith(f"{DOCKER[language(name)]}\n")
        assert marked == any(words[0] == "docker" for words in lines(code)), code


def test_everything_that_is_generated_is_there(tmp_path: Path) -> None:
    assert assemble(tmp_path) == 2 * len(names("en"))
    for code in LANGUAGES:
        pages = {name: (tmp_path / code / name).read_text("utf-8") for name in names(code)}
        assert not [name for name, text in pages.items() if "<!-- generated" in text]
        used = {words.split()[0] for name in names(code) for words in LINE.findall(read(f"docs/{code}/{name}"))}
        assert used == set(GENERATED)
        for program, package in PROGRAMS.items():
            text = pages[f"reference/{program}.md"]
            for command in importlib.import_module(f"{package}.cli").COMMANDS:
                (section,) = re.findall(rf"^## {command}\n(.*?)(?=^## |\Z)", text, re.MULTILINE | re.DOTALL)
                for action in commands.parser_of(program, command)._actions:
                    said = action.option_strings or [str(action.help)]
                    assert isinstance(action, argparse._HelpAction) or said[0] in section, action
        for target in re.findall(r"^([a-z0-9-]+):.*## ", read("Makefile"), re.MULTILINE):
            assert f"`make {target}`" in pages["reference/make.md"]
        for package in ("ner_eval", "ner_data"):
            for name in importlib.import_module(package).__all__:
                assert f"\n### {name}\n" in pages["reference/python.md"]
        for model in recipes.models():
            assert f"\n## {model.name}\n" in pages["reference/recipes.md"]
            for values in recipes.methods(model).values():
                assert {key for key in values if f"| `{key}` |" not in pages["reference/recipes.md"]} == set()
        for said in messages.collect():
            assert said.text in pages["troubleshooting.md"]
    assert page("en", "index.md") == read("docs/en/index.md")


def known(line: str) -> bool:
    return any(message.says(line) for message in messages.collect())


def test_messages_of_malformed_files_are_in_the_list() -> None:
    """docs/formats.md has what the readers really said of malformed input."""
    said = [
        re.sub(r"\\(.)", r"\1", html.unescape(row[-1]))
        for table in tables(read("docs/formats.md"))
        for row in table[1:]
    ]
    assert len(said) > 300
    # What the decoder finds wrong with the types of JSON is in its words.
    assert [line for line in said if not known(line) and not re.search(r": expected \w+, got \w+;", line)] == []


# Mistakes that users make, and the programs' real answers to them.
# fmt: off
MISTAKES = [
    ("ner-data", "convert nosuch"),
    ("ner-data", "convert demo"),
    ("ner-data", "init notes nosuch.txt"),
    ("ner-data", "alpaca demo --form nosuch"),
    ("ner-data", "split demo parts"),
    ("ner-data", "sample demo less"),
    ("ner-data", "sample demo less --share 2"),
    ("ner-data", "export demo --format nosuch --output x"),
    ("ner-data", "check demo --cutoff 10"),
    ("ner-data", "check demo --strict nosuch"),
    ("ner-data", "merge both demo --map nosuch:a=b"),
    ("ner-data", "preview nosuch.yaml"),
    ("ner-model", "plan nosuch.yaml"),
    ("ner-model", "serve nosuch"),
    ("ner-model", "download nosuch"),
    ("ner-model", "stop --port 1 extra"),
    ("ner-eval", "extract nosuch.txt --model m --wait 0"),
    ("ner-eval", "score nosuch"),
    ("ner-eval", "compare one"),
    ("ner-eval", "report nosuch"),
    ("ner-eval", "predict --corpus demo --model m --base-url nosuch"),
    ("ner-eval", "publish nosuch"),
    ("ner-eval", "select nosuch --model m"),
    ("ner-eval", "track nosuch --tracker tensorboard"),
    ("ner-eval", "api --model =x"),
    ("ner-eval", "calibrate nosuch"),
    ("ner-eval", "export nosuch --format doccano --output x"),
]
# fmt: on


@pytest.mark.parametrize(("program", "words"), MISTAKES)
def test_messages_of_mistakes_are_in_the_list(workplace: Path, cli: Cli, program: str, words: str) -> None:
    result: Result = cli(program, *words.split())
    assert result.code == 2
    said = [line for line in result.err.splitlines() if line.startswith(program)][-1]
    # What argparse itself says of options and choices is not ours.
    assert known(said) or re.match(rf"{program}[\w -]*: error: ", said), said


def test_messages_of_make_are_in_the_list() -> None:
    for words in (["train", "MODEL=nosuch"], ["data", "TRACK=nosuch"]):
        assert known(make(*words).stderr), words


# A Python that makes environments in which nothing can be installed.
UNABLE = """#!/bin/sh
mkdir -p "$4/bin"
printf '#!/bin/sh\\necho no such index\\nexit 1\\n' >"$4/bin/pip"
chmod +x "$4/bin/pip"
"""


def test_what_goes_wrong_with_environments_is_in_the_list(checkout: Path) -> None:
    python = checkout / "python"
    python.write_text(UNABLE)
    python.chmod(0o755)
    (checkout / ".venv").mkdir()
    for words, said in (
        ((".venv/.locked", "PYTHON="), "Python 3.11, 3.12 or 3.13 is needed; name one with PYTHON=…"),
        ((".venv/.locked", f"PYTHON={python}"), ".venv: installation failed; see .venv/install.log"),
        ((".venv/.ready", "-o", ".venv/.locked"), ".venv: installing this package failed; see .venv/install.log"),
    ):
        ended = make(*words, folder=checkout)
        assert ended.returncode == 2 and said in ended.stderr.splitlines(), ended.stderr
        assert any(message.speaker == "make" and message.says(said) for message in messages.collect())
    assert known("requirements/base.txt: not audited (no such index); repeat it where the index can be reached")


def test_what_the_container_refuses_is_in_the_list(tmp_path: Path) -> None:
    ended = subprocess.run([ROOT / "deploy/serve-entry"], cwd=tmp_path, capture_output=True, text=True)
    assert ended.returncode == 2 and ended.stderr.count("\n") == 1
    assert [message.speaker for message in messages.collect() if message.says(ended.stderr)] == ["container"]


def test_what_the_page_of_the_service_says_of_failures_is_in_the_list() -> None:
    told = re.findall(r"^.*tell\(.*, true\);.*$", read("eval/ner_eval/service/page/page.js"), re.MULTILINE)
    names = {name for line in told for name in re.findall(r'say\("(\w+)"\)', line)}
    assert {"nothing", "need_key", "unreachable"} <= names <= set(messages.ON_THE_PAGE)
    for strings in json.loads(read("eval/ner_eval/service/page/strings.json")).values():
        assert all(known(strings[name]) for name in messages.ON_THE_PAGE)


def test_notices_are_in_the_list(workplace: Path, cli: Cli) -> None:
    Path("texts.txt").write_text("林晓在云帆\n", "utf-8")
    server = ("--model", "m", "--base-url", f"http://127.0.0.1:{free_port()}/v1", "--wait", "0.2")
    waiting, refusal = cli("ner-eval", "extract", "texts.txt", *server).err.splitlines()
    assert waiting.endswith("waiting up to 0 s for it") and known(waiting) and known(refusal)
    for command in ("fetch", "convert"):
        assert cli("ner-data", command, "demo").code == 0
    notes = [line for line in cli("ner-data", "augment", "demo", "more").out.splitlines() if line.startswith("note: ")]
    assert notes and all(map(known, notes))
    for line in (
        "note: scores are calibrated on 80 held-out entities (saves/nano/lora/demo/ner_calibration.json)",
        "warning: saves/x: has another ner_prompt.json; clients must ask with it now",
        "llamafactory_ner: warning: cluener_train: no prompt spec (CORPUS.prompt.json) beside the file, so the adapter "
        "gets no ner_prompt.json",
        "http://127.0.0.1:8000/v1 answers again",
    ):
        assert known(line), line


def test_a_name_that_is_imported_as_another_is_told_from_that_of_its_module() -> None:
    """tuner.py has FILE_NAME of three modules, two of them under other names."""
    (text,) = [m.text for m in messages.collect() if "so their prompt is unknown and" in m.text]
    assert text.endswith("gets no ner_prompt.json")


def test_explanations_are_of_messages_that_exist() -> None:
    assert messages.explained()
    for one in messages.explained():
        assert set(one) == {"says", *LANGUAGES}
        assert any(one["says"] in message.text for message in messages.collect()), one["says"]
