"""What the chat template was told in training, every request tells it too."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from ner_common.errors import UserError
from ner_data.prompt import FILE_NAME, PromptSpec
from ner_eval.inference.request import request_body, sampling
from ner_eval.inference.served_model import choose_prompt

SPEC = PromptSpec("demo", "你是专家。", "请抽取。", ("name", "company"), "json_list", 64)


@pytest.mark.parametrize("told", [True, False])
def test_requests_tell_the_chat_template_what_it_was_told_in_training(told: bool) -> None:
    carried = sampling(replace(SPEC, enable_thinking=told), "off", False)
    assert carried["enable_thinking"] is told  # a run's manifest stores this
    body = request_body("m", SPEC, "林晓", carried)
    assert body["chat_template_kwargs"] == {"enable_thinking": told} and "enable_thinking" not in body


def test_other_models_and_servers_of_openai_are_told_nothing() -> None:
    for carried in (sampling(SPEC, "off", False), sampling(replace(SPEC, enable_thinking=False), "off", True)):
        assert "enable_thinking" not in carried
        assert "chat_template_kwargs" not in request_body("m", SPEC, "林晓", carried)


@pytest.mark.parametrize(("told", "openai_only"), [(False, True), (False, False), (None, True)])
def test_a_server_that_cannot_be_told_is_warned_of(
    told: bool | None, openai_only: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    replace(SPEC, enable_thinking=told).save(tmp_path / FILE_NAME)
    choose_prompt(None, tmp_path, None, (), False, openai_only)
    warned = "warning: with --openai-only, no request says enable_thinking: false, as the training did; make it the"
    assert capsys.readouterr().err.startswith(warned) == (told is False and openai_only)


def test_it_is_stored_with_the_spec_and_changes_neither_its_fingerprint_nor_other_specs(tmp_path: Path) -> None:
    assert "enable_thinking" not in SPEC.as_json()
    told = replace(SPEC, enable_thinking=False)
    told.save(tmp_path / FILE_NAME)
    assert PromptSpec.load(tmp_path / FILE_NAME) == told and told.fingerprint == SPEC.fingerprint
    value = json.loads((tmp_path / FILE_NAME).read_text())
    (tmp_path / FILE_NAME).write_text(json.dumps(value | {"enable_thinking": "no"}))
    with pytest.raises(UserError, match="enable_thinking: expected"):
        PromptSpec.load(tmp_path / FILE_NAME)


def test_a_named_prompt_is_asked_as_the_model_was_trained(tmp_path: Path) -> None:
    replace(SPEC, enable_thinking=False).save(tmp_path / FILE_NAME)
    SPEC.save(tmp_path / "other.json")
    assert choose_prompt(tmp_path / "other.json", tmp_path, None, (), False).enable_thinking is False
    assert choose_prompt(tmp_path / "other.json", None, None, (), False).enable_thinking is None
