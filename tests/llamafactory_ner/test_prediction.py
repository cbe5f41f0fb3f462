"""Answers do not depend on how texts are batched, and PEFT itself loads what was trained."""

import json
from pathlib import Path

import pytest

pytestmark = pytest.mark.train

METHODS = {
    "p_tuning": {"finetuning_type": "p_tuning"},
    "prefix_tuning": {"finetuning_type": "prefix_tuning"},
    "prefix_projection": {"finetuning_type": "prefix_tuning", "prefix_projection": True},
}


@pytest.fixture(scope="module")
def trained(run_exp, tiny_qwen2: Path, data_dir: Path, tmp_path_factory):
    """A trained adapter of each method."""
    folders = {}
    for method, arguments in METHODS.items():
        folders[method] = tmp_path_factory.mktemp(method)
        run_exp(
            {
                "model_name_or_path": str(tiny_qwen2),
                "do_train": True,
                **arguments,
                "num_virtual_tokens": 7,
                "dataset_dir": str(data_dir),
                "dataset": "toy_train",
                "template": "qwen",
                "cutoff_len": 512,
                "output_dir": str(folders[method]),
                "learning_rate": 0.01,
                "num_train_epochs": 2,
                "save_strategy": "no",
                "report_to": "none",
                "use_cpu": True,
            }
        )
    return folders


@pytest.mark.parametrize("method", METHODS)
def test_predictions_in_batches_equal_predictions_one_by_one(method, trained, run_exp, recipe, tmp_path: Path) -> None:
    answers = {}
    for name, size, adapter in (("alone", 1, trained[method]), ("batch", 8, trained[method]), ("base", 8, None)):
        out = tmp_path / name
        run_exp(
            recipe(
                finetuning_type=METHODS[method]["finetuning_type"],
                adapter_name_or_path=adapter and str(adapter),
                do_train=None,
                do_predict=True,
                predict_with_generate=True,
                dataset=None,
                eval_dataset="toy_dev",
                max_new_tokens=24,
                do_sample=False,
                per_device_eval_batch_size=size,
                num_virtual_tokens=None,
                output_dir=str(out),
            )
        )
        lines = (out / "generated_predictions.jsonl").read_text("utf-8").splitlines()
        answers[name] = [json.loads(line)["predict"] for line in lines]
    assert answers["alone"] == answers["batch"]
    assert len(set(answers["alone"])) > 4
    assert all(tuned != base for tuned, base in zip(answers["batch"], answers["base"], strict=True))


@pytest.mark.parametrize("method", METHODS)
def test_peft_alone_gives_the_same_logits_and_loss(method, trained, tiny_qwen2: Path) -> None:
    import torch
    from peft import PeftConfig, PeftModel
    from transformers import AutoModelForCausalLM

    from llamafactory_ner.soft_prompt_model import SoftPromptModel

    tokens = torch.randint(0, 256, (2, 30), generator=torch.Generator().manual_seed(3))
    with torch.no_grad():
        theirs = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(tiny_qwen2), trained[method]).eval()
        expected = theirs(input_ids=tokens, attention_mask=torch.ones_like(tokens), labels=tokens)
        config = PeftConfig.from_pretrained(trained[method])
        config.inference_mode = True
        ours = SoftPromptModel(AutoModelForCausalLM.from_pretrained(tiny_qwen2), config).eval()
        ours.load_adapter(str(trained[method]), "default")
        got = ours(input_ids=tokens, attention_mask=torch.ones_like(tokens), labels=tokens)
    assert torch.allclose(got.logits, expected.logits[:, -30:], atol=1e-5)
    assert torch.allclose(got.loss, expected.loss, atol=1e-5)


@pytest.mark.parametrize("method", METHODS)
def test_left_padding_changes_nothing(method, trained, tiny_qwen2: Path) -> None:
    import torch
    from peft import PeftConfig
    from transformers import AutoModelForCausalLM

    from llamafactory_ner.soft_prompt_model import SoftPromptModel

    config = PeftConfig.from_pretrained(trained[method])
    config.inference_mode = True
    model = SoftPromptModel(AutoModelForCausalLM.from_pretrained(tiny_qwen2), config).eval()
    model.load_adapter(str(trained[method]), "default")
    text = torch.randint(0, 256, (1, 20), generator=torch.Generator().manual_seed(4))
    padded = torch.cat([torch.full((1, 9), 257), text], dim=1)
    mask = (torch.arange(29) >= 9).long()[None]
    with torch.no_grad():
        alone = model(input_ids=text).logits
        beside = model(input_ids=padded, attention_mask=mask).logits[:, 9:]
        answer = model.generate(input_ids=text, max_new_tokens=12, do_sample=False)[:, 20:]
        padded_answer = model.generate(input_ids=padded, attention_mask=mask, max_new_tokens=12, do_sample=False)[
            :, 29:
        ]
    assert torch.allclose(alone, beside, atol=1e-4)
    assert torch.equal(answer, padded_answer)


@pytest.mark.parametrize("method", METHODS)
def test_the_api_s_engine_answers_with_the_adapter(method, trained, run_exp, tiny_qwen2: Path) -> None:
    from llamafactory.chat import ChatModel

    common = {"model_name_or_path": str(tiny_qwen2), "template": "qwen"}
    common["finetuning_type"] = METHODS[method]["finetuning_type"]
    texts = ["头痛三天", "服用阿司匹林后好转", "患者男性"]
    answers = []
    for adapter in ({"adapter_name_or_path": str(trained[method])}, {}):
        chat = ChatModel(common | adapter)
        answers.append(
            [
                chat.chat([{"role": "user", "content": text}], do_sample=False, max_new_tokens=12)[0].response_text
                for text in texts
            ]
        )
    assert answers[0] != answers[1]
