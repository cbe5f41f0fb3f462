"""Which prompt a model is asked with: the user's, else the model's, else the corpus's; and what is refused."""

from dataclasses import replace
from pathlib import Path

import pytest
from aiohttp import web

from faulty import Faulty
from ner_common.errors import UserError
from ner_data.alpaca import spec_file
from ner_data.prompt import PromptSpec
from ner_eval.inference.served_model import choose_prompt

USER, MODEL = Path("user.json"), Path("model")


@pytest.fixture
def specs(work: Path) -> dict[str, PromptSpec]:
    """Three prompts that differ only in their system text: the corpus's, the model folder's and the user's."""
    corpus = PromptSpec.load(spec_file("demo"))
    found = {"corpus": corpus, "model": replace(corpus, system="模型的。"), "user": replace(corpus, system="用户的。")}
    found["model"].save(MODEL / "ner_prompt.json")
    found["user"].save(USER)
    Path("empty").mkdir()
    return found


@pytest.mark.parametrize(
    ("prompt", "folder", "corpus", "chosen", "noted"),
    [
        (USER, MODEL, "demo", "user", True),
        (USER, None, "demo", "user", False),
        (USER, Path("empty"), None, "user", False),
        (None, MODEL, "demo", "model", False),
        (None, MODEL, None, "model", False),
        (None, Path("empty"), "demo", "corpus", False),
        (None, Path("not/there"), "demo", "corpus", False),
        (None, None, "demo", "corpus", False),
        (MODEL / "ner_prompt.json", MODEL, "demo", "model", False),
    ],
)
def test_the_prompt_is_the_users_else_the_models_else_the_corpuss(
    specs, capsys, prompt, folder, corpus, chosen, noted
) -> None:
    assert choose_prompt(prompt, folder, corpus, (), False) == specs[chosen]
    note = "note: user.json is not the prompt that the model was trained with\n"
    assert capsys.readouterr().err == (note if noted else "")


@pytest.mark.parametrize("folder", [None, Path("empty")])
def test_a_missing_prompt_names_the_remedy(specs, folder) -> None:
    with pytest.raises(UserError, match=r"name it with --prompt, or the folder of its ner_prompt.json with --adapter"):
        choose_prompt(None, folder, None, (), False)


def test_a_prompt_that_does_not_fit_is_refused_unless_overridden(specs, capsys) -> None:
    labels = specs["corpus"].labels
    fewer, lines, turned = (
        replace(specs["user"], labels=labels[1:]),
        replace(specs["user"], answer_form="lines"),
        replace(specs["user"], labels=labels[::-1]),
    )
    for spec, folder, scored, words in (
        (fewer, MODEL, (), f"user.json: the model was trained with the labels {', '.join(labels)}; use --allow-other"),
        (lines, MODEL, (), "user.json: the model was trained to answer as json_list; use --allow-other"),
        (
            fewer,
            None,
            labels,
            f"user.json: asks for {', '.join(labels[1:])}, the corpus has {', '.join(labels)}; use --allow-other-prompt",
        ),
    ):
        spec.save(USER)
        with pytest.raises(UserError) as caught:
            choose_prompt(USER, folder, "demo", scored, False)
        assert str(caught.value).startswith(words)
        assert capsys.readouterr().err == ""
        assert choose_prompt(USER, folder, "demo", scored, True) == spec
        assert ("is not the prompt" in capsys.readouterr().err) == (folder is not None)
    turned.save(USER)
    assert choose_prompt(USER, MODEL, "demo", labels, False) == turned


@pytest.mark.parametrize("command", ["predict", "extract"])
@pytest.mark.parametrize(
    ("arguments", "root", "chosen"),
    [
        (("--adapter", "model"), "/not/there", "model"),
        (("--adapter", "model"), "other", "model"),
        (("--adapter", "empty"), "model", "corpus"),
        (("--prompt", "user.json", "--adapter", "model"), "/not/there", "user"),
        (("--prompt", "user.json"), "model", "user"),
        ((), "model", "model"),
        ((), "empty", "corpus"),
    ],
)
def test_the_command_asks_with_the_chosen_prompt(specs, ner_eval, command, arguments, root, chosen) -> None:
    replace(specs["corpus"], system="另一个。").save(Path("other/ner_prompt.json"))
    Path("a.txt").write_text("林00在云帆科技任经理\n", encoding="utf-8")
    own = {"predict": ("--corpus", "demo", "--limit", 1), "extract": ("a.txt",)}[command]
    with Faulty(models={"nano": root}) as server:
        ended = ner_eval(command, "--model", "nano", "--base-url", server.base_url, "--wait", 0, *own, *arguments)
    if command == "extract" and chosen == "corpus":
        assert ended.code == 2 and "no prompt spec for this model" in ended.lines[0] and not server.asked
        return
    assert ended.code == 0, ended.err
    assert server.bodies[0]["messages"] == specs[chosen].messages("林00在云帆科技任经理")
    assert ("is not the prompt that the model was trained with" in ended.err) == (chosen == "user")


def test_a_prompt_of_other_labels_is_refused_by_the_command_and_nothing_is_written(specs, ner_eval) -> None:
    replace(specs["user"], labels=specs["user"].labels[1:]).save(USER)
    command = ("predict", "--model", "nano", "--wait", 0, "--corpus", "demo", "--prompt", USER)
    with Faulty(models={"nano": "model"}) as server:
        ended = ner_eval(*command, "--base-url", server.base_url)
        assert ended.code == 2 and len(ended.lines) == 1 and "--allow-other-prompt" in ended.lines[0]
        assert not server.asked and not Path("runs").exists()
        assert ner_eval(*command, "--base-url", server.base_url, "--allow-other-prompt").code == 0
    assert len(server.asked) == 40


@pytest.mark.parametrize(
    ("cards", "asked"),
    [
        ([{"id": "base", "max_model_len": 64}, {"id": "nano", "parent": "base"}], 64),
        ([{"id": "nano", "max_model_len": 64}, {"id": "longer", "max_model_len": 10_000}], 128),
        ([{"id": "nano", "max_model_len": "64"}, {"id": "x", "max_model_len": True}, {"id": "y"}], 128),
    ],
)
def test_an_answer_may_be_as_long_as_the_prompt_says_but_not_longer_than_the_context(
    specs, ner_eval, cards: list[dict[str, object]], asked: int
) -> None:
    replace(specs["corpus"], max_tokens=128).save(USER)
    with Faulty(models=web.json_response({"data": cards})) as server:
        words = ("--corpus", "demo", "--limit", 3, "--prompt", USER, "--wait", 0)
        ended = ner_eval("predict", "--model", "nano", "--base-url", server.base_url, *words)
    assert ended.code == 0, ended.err
    assert [body["max_tokens"] for body in server.bodies] == [asked] * 3
