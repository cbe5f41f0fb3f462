"""The documents are true: what they name exists, both READMEs say the same, the programs produce their examples."""

import argparse
import importlib
import json
import re
import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest

from ner_common.machine import BF16_FLAGS
from ner_docs import LANGUAGES, names
from ner_eval.benchmarks import curves, figure
from ner_eval.published import all_results
from support import ROOT, Result
from test_layout import MAY_IMPORT

READMES = ["README.md", "README_zh.md"]
# The pages of the site, of which not each one has commands and paths.
PAGES = [f"docs/{language}/{name}" for language in LANGUAGES for name in names(language)]
DOCUMENTS = [*READMES, "CONTRIBUTING.md", "recipes/README.md", *PAGES]
# A top folder of the repository, and what is below it.
PATH = re.compile(r"(?<![\w/.])(?:tools|eval|recipes|tests|requirements|docs|data/(?:corpora|nano))/[\w./*-]*")
MADE = {"data/corpora/notes.yaml", "data/corpora/contracts.yaml"}  # by `ner-data init` in the pages
PLACEHOLDER = re.compile(r"[A-Z]{4}|\*")  # MODEL, METHOD, NAME
PROGRAMS = {"ner-data": "ner_data", "ner-model": "ner_models", "ner-eval": "ner_eval"}
FENCE = re.compile(r"^ *```(\w*)\n(.*?)^ *```$", re.MULTILINE | re.DOTALL)

Cli = Callable[..., Result]


def read(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def blocks(text: str) -> list[tuple[str, str]]:
    """The code blocks of a document: (language, contents without indentation)."""
    return [(language, textwrap.dedent(code)) for language, code in FENCE.findall(text)]


def code(text: str) -> list[str]:
    """All code of a document: the lines of its blocks without comments, and what is in backticks."""
    lines = [line.split("#")[0].strip() for _, block in blocks(text) for line in block.splitlines()]
    spans = re.findall(r"`([^`]+)`", FENCE.sub("", text))
    return [" ".join(part.split()) for part in (*lines, *spans) if part.strip()]


def tables(text: str) -> list[list[list[str]]]:
    """The tables of a document, as rows of cells; the line below the header is left out."""
    found: list[list[list[str]]] = []
    previous = ""
    for line in FENCE.sub("", text).splitlines():
        if line.startswith("|"):
            if not previous.startswith("|"):
                found.append([])
            if not re.fullmatch(r"[| -]+", line):
                found[-1].append([cell.strip() for cell in line.strip("|").split(" | ")])
        previous = line
    return found


def real_part(path: str) -> str:
    """A path up to the first placeholder."""
    parts = path.split("/")
    return "/".join(parts[: next((n for n, part in enumerate(parts) if PLACEHOLDER.search(part)), None)])


@pytest.mark.parametrize("name", DOCUMENTS)
def test_every_target_and_variable_of_make_exists(name: str) -> None:
    makefile = read("Makefile")
    targets = set(re.findall(r"^([a-z][a-z0-9-]*):", makefile, re.MULTILINE))
    commands = [part.split()[1:] for part in code(read(name)) if part.startswith("make ")]
    named = {word for words in commands for word in words if re.fullmatch(r"[a-z][a-z0-9-]*", word)}
    assert (named or name in PAGES) and named <= targets, named - targets
    variables = {match[1] for words in commands for word in words if (match := re.match(r"([A-Z_]+)=", word))}
    assert not {variable for variable in variables if not re.search(rf"\$[({{]{variable}\b", makefile)}


@pytest.mark.parametrize("name", DOCUMENTS)
def test_every_path_and_link_exists(name: str) -> None:
    text = read(name)
    paths = {path.rstrip(".") for part in code(text) for path in PATH.findall(part)}
    assert paths or name in PAGES
    assert not {path for path in paths - MADE if not (ROOT / real_part(path)).exists()}
    links = re.findall(r"\]\(([^)#]+)\)", text)
    assert not [link for link in links if not ((ROOT / name).parent / link).exists()]


def test_the_folders_of_the_repository_exist_or_are_ignored_by_git() -> None:
    (listing,) = [block for language, block in blocks(read("CONTRIBUTING.md")) if block.startswith("Makefile ")]
    ignored = read(".gitignore")
    for line in listing.splitlines():
        for entry in line.split("#")[0].split():
            if "|" not in entry:
                assert (ROOT / entry).exists() or f"/{entry}" in ignored, entry


@pytest.mark.parametrize("name", DOCUMENTS)
def test_every_command_and_option_of_ours_exists(name: str) -> None:
    found = 0
    for part in code(read(name)):
        for program, rest in re.findall(r"(ner-data|ner-model|ner-eval) ([a-z].*)", part):
            words = rest.split(" | ")[0].split()
            commands = importlib.import_module(f"{PROGRAMS[program]}.cli").COMMANDS
            assert words[0] in commands, part
            parser = argparse.ArgumentParser()
            importlib.import_module(commands[words[0]][0]).add_arguments(parser)
            options = {word.split("=")[0] for word in re.sub(r'"[^"]*"', "", rest).split() if word.startswith("--")}
            assert options <= set(parser._option_string_actions), part
            found += 1
    assert found or name == "CONTRIBUTING.md" or name in PAGES


@pytest.mark.parametrize("part", [part for part in code(read("CONTRIBUTING.md")) if "-m pytest" in part])
def test_the_test_commands_of_contributing_find_tests(part: str) -> None:
    (path,) = PATH.findall(part)
    text = read(path)
    assert "def test_" in text
    marker = re.search(r"-m (train|serve)", part)
    assert marker is None or f"mark.{marker[1]}" in text
    if word := re.search(r"-k (\w+)", part):
        assert re.search(rf"def test_\w*{word[1]}", text)


def test_contributing_names_the_import_rules_that_are_tested() -> None:
    header, *rows = tables(read("CONTRIBUTING.md"))[1]
    assert header[-1] == "Imports of ours"
    stated = {row[0].strip("`/").split("/")[-1]: set(re.findall(r"`(\w+)`", row[2])) for row in rows}
    assert stated == MAY_IMPORT


def test_both_readmes_have_the_same_structure() -> None:
    shapes = []
    for name in READMES:
        text = FENCE.sub("```", read(name))
        shapes.append(
            {
                "headings, code, list items, tables": re.findall(r"^(#+ |```|- |\d\. |\| ---)", text, re.MULTILINE),
                "cells": [[len(row) for row in table] for table in tables(text)],
            }
        )
    assert shapes[0] == shapes[1]
    assert all(shapes[0].values())


def test_both_readmes_show_the_same_code_figures_and_files() -> None:
    one, other = (
        [(language, re.sub(r"#.*", "", block).split()) for language, block in blocks(read(n))] for n in READMES
    )
    assert one == other
    assert len(one) >= 6
    rows, others = (re.findall(r"`[^`\n]+`", FENCE.sub("", read(name))) for name in READMES)
    assert sorted(rows) == sorted(others)
    figures = [sorted(re.findall(r"\d+\.\d{4}|`\w{7}`", read(name))) for name in READMES]
    assert figures[0] == figures[1]


def test_the_record_of_the_readme_is_what_the_program_makes(workplace: Path, cli: Cli) -> None:
    for command in ("fetch", "convert", "alpaca"):
        assert cli("ner-data", command, "demo").code == 0
    example = next(block for language, block in blocks(read("README.md")) if block.startswith("# raw"))
    raw, gold, alpaca, answer = (line for line in example.splitlines() if not line.startswith("#"))
    assert json.loads((workplace / "data/raw/demo/test.json").read_text("utf-8").splitlines()[0]) == json.loads(raw)
    assert (workplace / "data/gold/demo/test.jsonl").read_text("utf-8").splitlines()[0] == gold
    made = json.loads((workplace / "data/alpaca/demo_test.json").read_text("utf-8"))[0]
    shown = json.loads(alpaca)
    start, end = shown.pop("instruction").split("…")
    whole = made.pop("instruction")
    assert whole.startswith(start) and whole.endswith(end)
    assert made == shown
    # nano's answer is the one that the committed sample of a run holds.
    assert json.loads(read("tests/previous/run/predictions.jsonl").splitlines()[0])["answer"] == answer


def test_the_record_of_the_readme_scores_as_it_says() -> None:
    from ner_common.decoding import decode_json
    from ner_data.alignment import align
    from ner_data.answers import json_list
    from ner_data.gold import Record
    from ner_eval.metrics.loaded_run import Answered
    from ner_eval.metrics.mention_arrays import mention_arrays
    from ner_eval.metrics.protocols import tally_text

    example = next(block for language, block in blocks(read("README.md")) if block.startswith("# raw"))
    _, gold, _, answer = (line for line in example.splitlines() if not line.startswith("#"))
    record = decode_json(gold, Record)
    parsed = json_list.parse(answer, record.text)
    answered = Answered(record, answer, parsed, tuple(align(parsed.mentions, record.text)), False)
    tally = tally_text(mention_arrays([answered], ["company", "name", "position"]))
    # TP, FP, FN: company and position are hits, name is one false positive and one false negative.
    assert tally[0, :3].tolist() == [[1, 0, 0], [0, 1, 1], [1, 0, 0]]
    row = re.search(r"`(name +[\d. ]+)`", read("README.md"))
    assert row and row[1].split() in [
        line.split() for _, block in blocks(read("README.md")) for line in block.splitlines()
    ]


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_page_names_the_cpus_that_get_bfloat16(language: str) -> None:
    page = read(f"docs/{language}/how-to/training.md")
    (row,) = [row for table in tables(page) for row in table if row[1:] == ["bfloat16", "bfloat16"]]
    assert sorted(re.findall(r"`(\w+)`", row[0])) == sorted(BF16_FLAGS)


def test_the_corpus_of_the_page_is_converted(workplace: Path, cli: Cli) -> None:
    (description,) = [block for language, block in blocks(read("docs/en/how-to/corpora.md")) if language == "yaml"]
    sample = "甲 O\n方 O\n海 B-甲方\n腾 I-甲方\n"
    (workplace / "data/corpora/contracts.yaml").write_text(description, encoding="utf-8")
    raw = workplace / "mine"
    raw.mkdir()
    for split in ("train", "dev", "test"):
        (raw / f"{split}.txt").write_text(sample, encoding="utf-8")
    for arguments in (["convert", "contracts", "--raw", raw], ["alpaca", "contracts"]):
        done = cli("ner-data", *arguments)
        assert done.code == 0, done.err
    items = json.loads((workplace / "data/alpaca/contracts_train.json").read_text("utf-8"))
    assert [json.loads(item["output"]) for item in items] == [[{"text": "海腾", "label": "甲方"}]]
    assert "甲方、金额、person（姓名）" in items[0]["instruction"]
    assert not (workplace / "data/alpaca/contracts_test.json").exists()  # gold: false


def test_another_instruction_reaches_training_files_and_prompt_spec(
    workplace: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ner_data import prompt

    for command in ("fetch", "convert", "alpaca"):
        cli("ner-data", command, "demo")
    spec = workplace / "data/alpaca/demo.prompt.json"
    before = prompt.PromptSpec.load(spec)
    monkeypatch.setattr(prompt, "INSTRUCTION", f"请仔细阅读。\n{prompt.INSTRUCTION}")
    assert cli("ner-data", "alpaca", "demo").code == 0
    after = prompt.PromptSpec.load(spec)
    item = json.loads((workplace / "data/alpaca/demo_train.json").read_text("utf-8"))[0]
    assert after.instruction == item["instruction"] == f"请仔细阅读。\n{before.instruction}"
    assert after.fingerprint != before.fingerprint


# What is added as CONTRIBUTING says: the file, something that it holds, and the test that does it.
# fmt: off
ROWS = {
    "a corpus format": ("tools/ner_data/formats/cluener.py", "class Reader(", "tests/ner_data/test_formats.py::test_a_format_is_added_as_one_file"),
    "an answer form": ("tools/ner_data/answers/json_list.py", "def render(", "tests/ner_data/test_answer_forms.py::test_answers_in_the_new_form_are_scored"),
    "an instruction": ("tools/ner_data/prompt.py", "INSTRUCTION = ", "tests/test_readme.py::test_another_instruction_reaches_training_files_and_prompt_spec"),
    "a base model": ("recipes/qwen2.5-0.5b/model.yaml", "source:", "tests/test_new_model.py::test_a_model_folder_is_all_that_a_new_base_model_needs"),
    "a method": ("tools/llamafactory_ner/methods.py", "METHODS", "tests/llamafactory_ner/test_methods.py::test_another_method_trains_resumes_its_adapter_and_is_checked"),
    "a quantisation scheme": ("tools/ner_models/schemes.py", "SCHEMES", "tests/ner_models/test_schemes.py::test_the_scheme_of_a_model_is_read_from_its_configuration"),
    "a metric": ("eval/ner_eval/metrics/protocols.py", "PROTOCOLS: ", "tests/ner_eval/reporting/test_protocol_table.py::test_score_prints_and_stores_it"),
    "a serving option": ("tools/ner_models/serving/command.py", "class Settings", "tests/ner_models/serving/test_process.py::test_every_setting_is_an_option_that_reaches_the_command"),
    "a section of the report": ("eval/ner_eval/reporting/data.py", "def collect(", "tests/ner_eval/reporting/test_report.py::test_every_section_is_drawn_has_its_words_in_both_languages_and_its_data"),
    "a page of the documentation": ("docs/ner_docs/__init__.py", "LANGUAGES", "tests/test_site.py::test_both_languages_have_the_same_pages_all_of_them_in_the_navigation"),
}
# fmt: on


def additions() -> dict[str, str]:
    """What CONTRIBUTING says how to add, and its words."""
    return dict(re.findall(r"^- \*\*(an? [^*]+)\*\*: (.*(?:\n  .*)*)", read("CONTRIBUTING.md"), re.MULTILINE))


def test_a_test_follows_each_thing_that_can_be_added() -> None:
    assert list(additions()) == list(ROWS)


@pytest.mark.parametrize("thing", ROWS)
def test_what_is_said_of_an_addition_names_the_file_and_a_test_follows_it(thing: str) -> None:
    file, holds, test = ROWS[thing]
    # As it is named: NAME, MODEL and METHOD stand for one part of a path; a folder, for what is in it.
    patterns = [re.sub(r"[A-Z]{4,}", r"[\\w.-]+", re.escape(path)) for path in PATH.findall(additions()[thing])]
    assert any(re.match(pattern, file) for pattern in patterns), patterns
    assert holds in read(file)
    path, name = test.split("::")
    assert f"def {name}(" in read(path)


def test_the_learning_curve_of_the_readmes_is_that_of_the_result_files() -> None:
    """All its points, so that a new one is shown."""
    points = [
        (f"{result.training_records:,}", figure(result.micro_f1, spread[0]))
        for points in curves(all_results()).values()
        for result in sorted(points.values(), key=lambda point: (point.training_records, point.micro_f1))
        if result.curve == "random sentences" and (spread := result.spread())
    ]
    assert len(points) > 5
    for name in READMES:
        (rows,) = [table for table in tables(read(name)) if table[1][1] == points[0][1]]
        assert [(re.match("[0-9,]*[0-9]", cells[0])[0], cells[1]) for cells in rows[1:]] == points
