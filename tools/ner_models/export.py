"""``ner-model export``: bake a P-tuning adapter into a plain checkpoint that any vLLM serves to any client.

The learned virtual tokens become special tokens with rows of their own in the embedding, and the chat template puts
them before every conversation: position for position what PEFT computes. They must never be generated: the output
layer is untied from the embedding where it was tied, and their rows in it are chosen so that their logits lie far
below the best real one for the hidden states that the model has (see `row_without_chance`); the margin is measured.
"""

import argparse
import hashlib
from pathlib import Path
from typing import Any

from ner_data.errors import UserError, rooted
from ner_models.adapter import Adapter, load_adapter
from ner_models.folder import check_free, whole_folder
from ner_models.soft_prompts import P_TUNING, chat_template, check_fit, tokens_of, virtual_tokens

# The logit the virtual tokens are aimed at, and the least distance to the best real logit that is accepted:
# exp(-20) a token is 2e-9, for 128 of them over 1,000 answers of 100 tokens one in 40.
TARGET, MARGIN = -100.0, 20.0
RIDGES = (1e-4, 1e-3, 1e-2, 1e-1)  # shares of the states' mean energy
SAMPLES, LENGTH = 48, 96


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("adapter", type=Path, help="folder of a P-tuning adapter, as saves/MODEL/p_tuning/CORPUS")
    parser.add_argument("out", type=Path, help="folder for the plain checkpoint; must not exist")
    parser.add_argument("--base", type=Path, help="base model (default: the one the adapter was trained on)")


def run(args: argparse.Namespace) -> None:
    adapter = load_adapter(args.adapter.name, args.adapter)
    base = args.base or Path(adapter.base)
    margin = export(adapter, base, args.out)
    print(f"{rooted(args.out)}: {tokens_of(adapter)} virtual tokens, least margin of their logits {margin:.1f}")


def check(adapter: Adapter, base: Path, out: Path) -> None:
    """Refuse what cannot be exported.

    Raises:
        UserError: another kind of adapter, no base model, another base, or `out` exists.
    """
    if adapter.kind != P_TUNING:
        remedy = "LoRA merges with `make merge`; prefix tuning is served with `ner-model serve`"
        raise UserError(f"{rooted(adapter.path)}: is a {adapter.kind} adapter, only P_TUNING can be baked; {remedy}")
    if not (base / "config.json").is_file():
        raise UserError(f"{rooted(base)}: no model there (no config.json); name its folder with --base")
    check_fit(adapter, base, 1 << 30)
    check_free(out)


def export(adapter: Adapter, base: Path, out: Path) -> float:
    """Write the baked checkpoint; its chat template puts the virtual tokens before every conversation.

    Returns the least margin of the virtual tokens' logits. Raises UserError as `check`, or if it is too small.
    """
    check(adapter, base, out)
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(base)
    model = AutoModelForCausalLM.from_pretrained(base, dtype="auto").eval()
    names = virtual_tokens(tokens_of(adapter))
    tokenizer.add_special_tokens({"additional_special_tokens": names}, replace_extra_special_tokens=False)
    ids = tokenizer.convert_tokens_to_ids(names)
    with torch.no_grad():
        states, best = hidden_states(model, adapter)
        margin = bake(model, ids, stored_prompt(adapter), states, best)
    if margin < MARGIN:
        raise UserError(f"{rooted(base)}: the virtual tokens' logits come within {margin:.1f} of real ones; use LoRA")
    tokenizer.chat_template = "".join(names) + chat_template(base)
    with whole_folder(out) as unfinished:
        model.save_pretrained(unfinished)
        tokenizer.save_pretrained(unfinished)
    return margin


def stored_prompt(adapter: Adapter) -> Any:
    """The learned virtual tokens [N, hidden]."""
    from safetensors.torch import load_file

    return load_file(adapter.path / "adapter_model.safetensors")["prompt_embeddings"]


def hidden_states(model: Any, adapter: Adapter) -> tuple[Any, Any]:
    """Hidden states [states, hidden] before the output layer, and the best real logit [states] at each.

    Half of them on random tokens, half on what the model itself says after the soft prompt at temperature 1.
    """
    import torch
    from transformers import GenerationConfig

    embed = model.get_input_embeddings()
    prompt = stored_prompt(adapter).to(embed.weight.dtype)[None].expand(SAMPLES, -1, -1)
    torch.manual_seed(0)
    tokens = torch.randint(0, embed.weight.shape[0], (SAMPLES, LENGTH))
    begun = torch.cat([prompt, embed(tokens[:, :8])], dim=1)
    own = model.generation_config
    model.generation_config = GenerationConfig(do_sample=True, top_k=0, max_new_tokens=LENGTH - 8, pad_token_id=0)
    said = model.generate(inputs_embeds=begun, attention_mask=torch.ones(begun.shape[:2], dtype=torch.long))
    model.generation_config = own
    states, best = [], []
    for text in (tokens, torch.cat([tokens[:, :8], said], dim=1)):
        output = model(inputs_embeds=torch.cat([prompt, embed(text)], dim=1), output_hidden_states=True)
        states.append(output.hidden_states[-1].float().flatten(0, 1))
        best.append(output.logits.float().amax(-1).flatten())
    return torch.cat(states), torch.cat(best)


def row_without_chance(states: Any, best: Any) -> Any:
    """The output row [hidden] whose logits lie farthest below the `best` real ones [n] on `states` [n, hidden].

    Ridge regression towards TARGET on one half, the ridge chosen on the other. Final states of language models share a
    large common component, so one row can score low on all of them.
    """
    import torch

    fitted, chosen, best = states[0::2], states[1::2], best[1::2]
    gram = fitted.T @ fitted
    energy = gram.diagonal().mean() * torch.eye(gram.shape[0])
    rows = [torch.linalg.solve(gram + ridge * energy, TARGET * fitted.sum(0)) for ridge in RIDGES]
    return max(rows, key=lambda row: float((best - chosen @ row).min()))


def bake(model: Any, ids: list[int], prompt: Any, states: Any, best: Any) -> float:
    """Put the virtual tokens into `model` in place; returns the least margin on a third of the states set aside."""
    import torch

    aside = torch.arange(len(states)) % 3 == 0
    row = row_without_chance(states[~aside], best[~aside])
    margin = float((best[aside] - states[aside] @ row.to(model.dtype).float()).min())
    vocabulary = max(max(ids) + 1, model.get_input_embeddings().weight.shape[0])
    head = model.get_output_embeddings().weight.detach().clone()
    model.resize_token_embeddings(vocabulary, mean_resizing=False)
    model.get_input_embeddings().weight[ids] = prompt.to(model.dtype)
    grown = torch.zeros(vocabulary, head.shape[1], dtype=head.dtype)
    grown[: head.shape[0]] = head
    grown[ids] = row.to(head.dtype)
    model.config.tie_word_embeddings = False
    model.get_output_embeddings().weight = torch.nn.Parameter(grown)
    return margin


def baked_folder(adapter: Adapter) -> Path:
    """Where `ner-model serve` keeps the baked copy of an adapter: in cache/baked, named by the adapter's weights."""
    weights = (adapter.path / "adapter_model.safetensors").read_bytes()
    return Path("cache/baked") / hashlib.sha256(weights).hexdigest()[:16]
