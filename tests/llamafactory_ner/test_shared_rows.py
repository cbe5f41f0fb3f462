"""A row that shares a prompt has the loss and the gradients of a padded batch; so has its loss in pieces."""

import itertools
import random

import pytest

from chatglm_support import bare_glm
from llamafactory_ner.shared_rows import GROUP_COST, IGNORED, grouped, shared_row
from shared_prompt_support import KINDS, VOCABULARY, padded, records, tokens

pytestmark = pytest.mark.train


def qwen2(**sizes):
    import torch
    from transformers import Qwen2Config, Qwen2ForCausalLM

    torch.manual_seed(0)
    shape = {"hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 3, "num_attention_heads": 4}
    return Qwen2ForCausalLM(Qwen2Config(vocab_size=VOCABULARY, initializer_range=0.1, **(shape | sizes)))


def tiny(kind: str):
    from transformers import AutoConfig, AutoModelForCausalLM

    shape = {"hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2, "num_attention_heads": 4}
    shape |= {"num_key_value_heads": 2, "head_dim": 16}
    return AutoModelForCausalLM.from_config(AutoConfig.for_model(kind, vocab_size=VOCABULARY, **shape))


def nano():
    from transformers import AutoModelForCausalLM

    from support import ROOT

    return AutoModelForCausalLM.from_pretrained(ROOT / "data/nano")


def values_of_another_width():
    import torch
    from transformers import DeepseekV3Config, DeepseekV3ForCausalLM

    torch.manual_seed(0)
    shape = {"hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2, "num_attention_heads": 4}
    shape |= {"num_key_value_heads": 4, "q_lora_rank": 32, "kv_lora_rank": 32, "first_k_dense_replace": 2}
    widths = {"qk_nope_head_dim": 16, "qk_rope_head_dim": 16, "v_head_dim": 16}
    return DeepseekV3ForCausalLM(
        DeepseekV3Config(vocab_size=VOCABULARY, initializer_range=0.1, n_routed_experts=8, **shape, **widths)
    )


MODELS = {
    "two key heads, tied": lambda: qwen2(num_key_value_heads=2, tie_word_embeddings=True),
    "one key head, untied": lambda: qwen2(num_key_value_heads=1, tie_word_embeddings=False),
    "glm": bare_glm,
    "nano": nano,
    "values of another width": values_of_another_width,
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", MODELS)
def test_loss_and_gradients_are_those_of_the_padded_batch(name: str, kind: str) -> None:
    import torch

    from llamafactory_ner.shared_attention import IMPLEMENTATIONS, register

    register()
    model, features = MODELS[name](), records(kind)

    def gradient(batch, attention: str):
        model.set_attn_implementation(attention)
        model.zero_grad()
        output = model(**batch, use_cache=False, num_items_in_batch=batch["labels"].ne(IGNORED).sum())
        output.loss.backward()
        gradients = torch.cat([weights.grad.flatten() for weights in model.parameters()])
        return output.loss.detach(), gradients, output.logits.shape[1]

    whole, shared = padded(features), shared_row(features)
    loss, expected, _ = gradient(whole, "sdpa")
    shared_loss, found, scored = gradient(shared, IMPLEMENTATIONS["sdpa"])
    assert scored == whole["labels"][:, 1:].ne(IGNORED).sum(), "scores are computed where there is nothing to predict"
    assert torch.allclose(shared_loss, loss, rtol=1e-5)
    assert (found - expected).norm() / expected.norm() < 1e-5
    assert shared["input_ids"].shape[1] <= whole["attention_mask"].sum()
    if kind in ("one prompt", "two prompts"):
        assert shared["input_ids"].shape[1] < 0.6 * whole["attention_mask"].sum()
    # A CPU runs flex_attention without gradients only, and what torch compiles for one without AVX-512 returns NaN for rows
    # that end within a block (docs/log.md); so its plain implementation checks our block mask.
    model.set_attn_implementation(IMPLEMENTATIONS["flex_attention"])
    with torch.no_grad(), torch.compiler.set_stance("force_eager"):
        flex = model(**shared_row(features), use_cache=False).loss
    model.set_attn_implementation(IMPLEMENTATIONS["sdpa"])
    with torch.no_grad():
        assert torch.allclose(flex, model(**shared_row(features), use_cache=False).loss, rtol=1e-5)


@pytest.mark.parametrize("name", ["glm", "two key heads, tied"])
@pytest.mark.parametrize("in_pieces", [False, True])
def test_a_batch_without_labels_has_no_loss_and_no_gradient(name: str, in_pieces: bool) -> None:
    """All were cut off; the other batches of a step have some."""
    import torch

    from llamafactory_ner import label_loss, shared_attention

    shared_attention.register()
    model = MODELS[name]()
    model.set_attn_implementation(shared_attention.IMPLEMENTATIONS["sdpa"])
    if in_pieces:
        model.get_output_embeddings().weight.requires_grad_(False)
        label_loss.register(model)
    features = [r | {"labels": [IGNORED] * len(r["labels"])} for r in records("one prompt")]
    loss = model(**shared_row(features), use_cache=False, num_items_in_batch=torch.tensor(10)).loss
    loss.backward()
    assert loss == 0
    assert all(weights.grad is None or not weights.grad.any() for weights in model.parameters())


LOSS_IN_PIECES = [name for name in MODELS if name != "values of another width"]


@pytest.mark.parametrize("name", [*LOSS_IN_PIECES, "qwen3", "llama"])
def test_the_loss_in_pieces_has_the_same_gradients(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    from llamafactory_ner import label_loss, shared_attention

    monkeypatch.setattr(label_loss, "PIECE", 7)
    shared_attention.register()
    model = MODELS[name]() if name in MODELS else tiny(name)
    model.set_attn_implementation(shared_attention.IMPLEMENTATIONS["sdpa"])
    model.get_output_embeddings().weight.requires_grad_(False)
    row = shared_row(records("two prompts"))
    assert row["shift_labels"].numel() % 7

    def gradient(**given):
        model.zero_grad()
        output = model(**row, use_cache=False, **given)
        (3 * output.loss).backward()
        trained = [weights.grad.flatten() for weights in model.parameters() if weights.requires_grad]
        return output, torch.cat(trained)

    whole, expected = gradient(num_items_in_batch=torch.tensor(100))
    whole_mean, _ = gradient()
    label_loss.register(model)
    found, gradients = gradient(num_items_in_batch=torch.tensor(100))
    assert (whole.logits.dim(), found.logits.dim()) == (3, 0), "the scores of all labels were computed at once"
    assert torch.allclose(found.loss, whole.loss, rtol=1e-5)
    assert (gradients - expected).norm() / expected.norm() < 1e-5
    with torch.no_grad():
        assert torch.allclose(model(**row, use_cache=False).loss, whole_mean.loss, rtol=1e-5)
        generated = model(input_ids=row["input_ids"][:, :5], use_cache=False)
    assert generated.logits.shape == (1, 5, model.config.vocab_size)


@pytest.mark.parametrize("change", ["trained", "another type"])
def test_models_whose_loss_is_something_else_keep_it(change: str) -> None:
    from llamafactory_ner import label_loss

    model = qwen2()
    head = model.get_output_embeddings()
    head.weight.requires_grad_(change == "trained")
    model.config.model_type = "qwen2" if change == "trained" else "gemma2"  # which caps its scores
    before = model.forward, head.forward, model.loss_function
    label_loss.register(model)
    assert (model.forward, head.forward, model.loss_function) == before


def test_records_are_divided_into_the_best_groups_of_neighbours() -> None:
    rng = random.Random(3)
    several = 0
    for _ in range(200):
        prompts = [tokens(rng, rng.randrange(0, 60)) for _ in range(3)]
        ids = [rng.choice(prompts) + tokens(rng, rng.randrange(1, 9)) for _ in range(6)]
        groups = grouped(ids)
        assert sorted(index for _, members in groups for index in members) == list(range(6))
        for prefix, members in groups:
            assert len({tuple(ids[member][:prefix]) for member in members}) == 1

        def cost(members: list[int], ids=ids) -> int:
            columns = zip(*(ids[member] for member in members), strict=False)
            common = sum(1 for _ in itertools.takewhile(lambda column: len(set(column)) == 1, columns))
            return GROUP_COST - (len(members) - 1) * common

        order = sorted(range(6), key=ids.__getitem__)
        divisions = []
        for cuts in itertools.product((False, True), repeat=5):
            ends = [0, *(n + 1 for n, cut in enumerate(cuts) if cut), 6]
            divisions.append(sum(cost(order[start:end]) for start, end in itertools.pairwise(ends)))
        assert sum(cost(members) for _, members in groups) == min(divisions)
        several += len(groups) > 1
    assert several > 50
