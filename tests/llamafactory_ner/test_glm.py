"""The soft-prompt model on the architecture of a converted chatglm3: padding, batches and recomputation."""

import pytest

pytestmark = pytest.mark.train


def build(method: str, recompute: bool = False):
    import torch
    from peft import PrefixTuningConfig, PromptEncoderConfig, TaskType
    from transformers import GlmConfig, GlmForCausalLM

    from llamafactory_ner.soft_prompt_model import SoftPromptModel

    torch.manual_seed(0)
    config = GlmConfig(
        vocab_size=300,
        hidden_size=64,
        intermediate_size=96,
        num_hidden_layers=3,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=16,
        attention_bias=True,
        partial_rotary_factor=0.5,
        initializer_range=0.2,
        pad_token_id=0,
        eos_token_id=1,
        tie_word_embeddings=False,
    )
    model = GlmForCausalLM(config)
    if recompute:
        model.gradient_checkpointing_enable()
    kind = PromptEncoderConfig if method == "p_tuning" else PrefixTuningConfig
    return SoftPromptModel(model, kind(task_type=TaskType.CAUSAL_LM, num_virtual_tokens=5))


def batch():
    import torch

    tokens = torch.randint(2, 300, (3, 20), generator=torch.Generator().manual_seed(1))
    mask = torch.ones_like(tokens)
    for row, padding in enumerate((0, 4, 11)):
        tokens[row, :padding], mask[row, :padding] = 0, 0
    return tokens, mask


@pytest.mark.parametrize("method", ["p_tuning", "prefix_tuning"])
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


@pytest.mark.parametrize("method", ["p_tuning", "prefix_tuning"])
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
