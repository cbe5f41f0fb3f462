"""What the report says about the run itself, with and without a training record."""

import json

import pytest

from ner_eval.runs.manifest import read_manifest, write_manifest
from report_page import HOSTILE, data_of
from support import one_line_error

TRAINING = {
    "started": "2026-11-24T08:40:00+00:00",
    "recipe": "recipes/nano/lora.yaml",
    "base_model": "data/nano",
    "arguments": {
        "finetuning_type": "lora",
        "lora_rank": 16,
        "learning_rate": 1.5e-3,
        "num_train_epochs": 1.7,
        "per_device_train_batch_size": 4,
        "gradient_accumulation_steps": 8,
    },
    "hardware": "1 x NVIDIA H100",
    "versions": {"llamafactory": "0.9.5"},
}


def facts(folder, ner_eval, /, **changes) -> dict[str, dict]:
    """Report a run whose manifest says ``changes``; its facts by group and name."""
    path = folder / "manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_text("utf-8")), **changes}), "utf-8")
    ended = ner_eval("report", folder, "--no-png", "--lang", "en")
    assert ended.code == 0, ended.err
    groups = data_of(folder / "report.html")["run"]["facts"]
    return {group["title"]: dict(group["rows"]) for group in groups}


def test_training_and_hardware_come_from_the_manifest(reported, ner_eval):
    recorded = {
        "training": TRAINING,
        "started": "2026-11-24T09:00:00+00:00",
        "hardware": "2 cores",
        "folder": "saves/x",
    }
    found = facts(reported[0], ner_eval, **recorded)
    assert found["training"] == {
        "started": "2026-11-24 08:40:00 UTC", "base_model": "data/nano", "recipe": "recipes/nano/lora.yaml",
        "method": "lora", "rank": "16", "learning_rate": "0.0015", "epochs": "1.7", "batch": "4 × 8",
        "trained_on": "1 x NVIDIA H100", "versions": "llamafactory 0.9.5",
    }  # fmt: skip
    run = found["run"]
    assert (run["started"], run["asked_on"], run["folder"]) == ("2026-11-24 09:00:00 UTC", "2 cores", "saves/x")
    text = (reported[0] / "report.md").read_text("utf-8")
    assert "| Batch × accumulation | 4 × 8 |" in text
    assert r"| Learning rate | 0\.0015 |" in text


def test_a_quantised_model_is_named_as_such(reported, ner_eval):
    stored = {
        "scheme": "int8",
        "group": 0,
        "samples": 0,
        "bytes": 602_000_000,
        "bytes_before": 1_980_000_000,
        "at": "",
    }
    found = facts(reported[0], ner_eval, training=TRAINING | {"quantized": stored})["training"]
    assert found["quantized"] == "int8, 602 MB of 1,980 MB"
    assert "| Quantised to | int8, 602 MB of 1,980 MB |" in (reported[0] / "report.md").read_text("utf-8")


def test_virtual_tokens_are_shown_for_the_methods_that_have_them(reported, ner_eval):
    arguments = {"finetuning_type": "p_tuning", "num_virtual_tokens": 32, "per_device_train_batch_size": 4}
    found = facts(reported[0], ner_eval, training=TRAINING | {"arguments": arguments})["training"]
    assert {key: found.get(key) for key in ("method", "virtual_tokens", "rank", "batch")} == {
        "method": "p_tuning", "virtual_tokens": "32", "rank": None, "batch": "4 × 1",
    }  # fmt: skip


def test_what_an_older_run_does_not_tell_is_not_recorded(reported, ner_eval):
    folder, _ = reported
    found = facts(folder, ner_eval)
    assert found["training"] == {"training": None}
    assert found["run"]["started"] is None and found["run"]["asked_on"] is None
    assert "| Training | not recorded |" in (folder / "report.md").read_text("utf-8")


def test_the_corpus_is_shown_with_title_and_licence_if_it_is_described_here(reported, ner_eval):
    folder, _ = reported
    corpus = facts(folder, ner_eval)["corpus"]
    assert (corpus["licence"], corpus["title"][:9]) == ("Apache-2.0", "Generated")
    assert corpus["selected"] == {"say": "selection_all", "with": {}}
    elsewhere = facts(folder, ner_eval, corpus="elsewhere")["corpus"]
    assert "licence" not in elsewhere and elsewhere["corpus"] == "elsewhere"


@pytest.mark.parametrize(
    "training",
    [{}, {"arguments": "x"}, {"arguments": {"learning_rate": [1]}, "versions": 3}, {"recipe": {"a": HOSTILE}}],
)
def test_a_record_of_another_form_does_no_harm(reported, ner_eval, training):
    folder, _ = reported
    groups = facts(folder, ner_eval, training=training, hardware="", started=HOSTILE)
    for value in (*groups["training"].values(), *groups["run"].values()):
        assert value is None or isinstance(value, str)
    assert "<script>window" not in (folder / "report.html").read_text("utf-8")
    assert "<script>" not in (folder / "report.md").read_text("utf-8")


@pytest.mark.parametrize(
    "changes", [{"training": 7}, {"training": "x"}, {"training": []}, {"hardware": 7}, {"started": [1]}]
)
def test_a_manifest_with_values_of_other_types_is_refused(reported, ner_eval, changes):
    folder, _ = reported
    path = folder / "manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_text("utf-8")), **changes}), "utf-8")
    assert "is not the manifest of a run, or was edited" in one_line_error(ner_eval("report", folder, "--no-png"))


def test_an_older_manifest_with_a_password_in_an_address_does_not_show_it(reported, ner_eval):
    folder, _ = reported
    facts(folder, ner_eval, base_urls=["http://user:secret@127.0.0.1:8000/v1"])
    for name in ("report.html", "report.md"):
        assert "secret" not in (folder / name).read_text("utf-8")


def test_facts_do_not_change_the_run(reported, ner_eval):
    folder, _ = reported
    before = read_manifest(folder)
    facts(folder, ner_eval)
    assert read_manifest(folder) == before
    write_manifest(folder, before)
    assert json.loads((folder / "manifest.json").read_text("utf-8"))["training"] is None
