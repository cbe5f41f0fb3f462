"""The soft-prompt model on the architecture of a converted chatglm3: padding, batches and recomputation."""

from pathlib import Path

import pytest

from chatglm_support import bare_glm
from llamafactory_ner.shared_rows import IGNORED, shared_row
from shared_prompt_support import padded, records

pytestmark = pytest.mark.train


METHODS = ["p_tuning", "prefix_tuning", "prefix_projection"]


def build(method: str, recompute: bool = False):
    from peft import PrefixTuningConfig, PromptEncoderConfig, TaskType

    from llamafactory_ner.soft_prompt_model import SoftPromptModel

    model = bare_glm()
    if recompute:
        model.gradient_checkpointing_enable()
    common = {"task_type": TaskType.CAUSAL_LM, "num_virtual_tokens": 5}
    if method == "p_tuning":
        return SoftPromptModel(model, PromptEncoderConfig(**common))
    return SoftPromptModel(model, PrefixTuningConfig(prefix_projection=method == "prefix_projection", **common))


def batch():
    import torch

    tokens = torch.randint(2, 300, (3, 20), generator=torch.Generator().manual_seed(1))
    mask = torch.ones_like(tokens)
    for row, padding in enumerate((0, 4, 11)):
        tokens[row, :padding], mask[row, :padding] = 0, 0
    return tokens, mask


@pytest.mark.parametrize("method", METHODS)
def test_answers_do_not_depend_on_the_batch(method: str) -> None:
    import torch

    model = build(method).eval()
    tokens, mask = batch()
    wanted = {"max_new_tokens": 16, "do_sample": False, "eos_token_id": 299, "pad_token_id": 0}
    with torch.no_grad():
        together = model.generate(input_ids=tokens, attention_mask=mask, **wanted)[:, 20:]
        for row in range(3):
            alone = tokens[row : row + 1, int((mask[row] == 0).sum()) :]
            answer = model.generate(input_ids=alone, attention_mask=torch.ones_like(alone), **wanted)
            assert torch.equal(answer[0, alone.shape[1] :], together[row, : answer.shape[1] - alone.shape[1]])
    assert len({tuple(row.tolist()) for row in together}) == 3


@pytest.mark.parametrize("method", METHODS)
def test_recomputation_gives_the_same_gradients(method: str) -> None:
    import torch

    gradients = []
    for recompute in (False, True):
        model = build(method, recompute).train()
        tokens, mask = batch()
        model(input_ids=tokens, attention_mask=mask, labels=tokens).loss.backward()
        gradients.append([p.grad for p in model.prompt_encoder.parameters()])
    for kept, recomputed in zip(*gradients, strict=True):
        assert kept.abs().max() > 0
        assert torch.allclose(kept, recomputed, atol=1e-6)


@pytest.mark.parametrize("method", METHODS)
def test_a_row_that_shares_its_prompt_has_the_gradients_of_the_padded_batch(method: str) -> None:
    import torch

    from llamafactory_ner.shared_attention import IMPLEMENTATIONS
    from llamafactory_ner.workflow import read_shared_rows

    model, features = build(method).train(), records("two prompts")

    def loss_and_gradients(batch):
        model.zero_grad()
        loss = model(**batch, num_items_in_batch=batch["labels"].ne(IGNORED).sum()).loss
        loss.backward()
        return loss.detach(), torch.cat([p.grad.flatten() for p in model.prompt_encoder.parameters()])

    loss, expected = loss_and_gradients(padded(features))
    read_shared_rows(model, "sdpa")
    shared_loss, found = loss_and_gradients(shared_row(features))
    assert torch.allclose(shared_loss, loss, rtol=1e-5)
    assert (found - expected).norm() / expected.norm() < 1e-5
    # On a CPU without gradients, and not compiled.
    model.get_base_model().set_attn_implementation(IMPLEMENTATIONS["flex_attention"])
    with torch.no_grad(), torch.compiler.set_stance("force_eager"):
        assert torch.allclose(model(**shared_row(features)).loss, loss, rtol=1e-5)


@pytest.mark.parametrize("method", METHODS)
def test_peft_alone_gives_the_same_logits_and_loss_from_what_is_saved(method: str, tmp_path: Path) -> None:
    import torch
    from peft import PeftConfig, PeftModel

    from llamafactory_ner.soft_prompt_model import SoftPromptModel

    build(method).save_pretrained(str(tmp_path))
    tokens = batch()[0]
    asked = {"input_ids": tokens, "attention_mask": torch.ones_like(tokens), "labels": tokens}
    config = PeftConfig.from_pretrained(tmp_path)
    config.inference_mode = True
    ours = SoftPromptModel(bare_glm(), config).eval()
    ours.load_adapter(str(tmp_path), "default")
    theirs = PeftModel.from_pretrained(bare_glm(), tmp_path).eval()
    with torch.no_grad():
        got, expected, untuned = (model(**asked) for model in (ours, theirs, bare_glm().eval()))
    assert torch.allclose(got.logits, expected.logits[:, -20:], atol=1e-5)
    assert torch.allclose(got.loss, expected.loss, atol=1e-5)
    assert (got.logits - untuned.logits).abs().max() > 0.1
