"""``ner-model export``: bake a P-tuning adapter into a plain checkpoint that any vLLM serves to any client.

The learned virtual tokens become special tokens with embedding rows of their own, and the chat template puts them
before every conversation: position by position what PEFT computes. They should never be generated. So the output layer
is untied from the embedding if it was tied, and their rows in it are fitted to give logits far below the best real one
for the model's hidden states (see `row_without_chance`); the margin is measured, on texts like those of the
adapter's use, at temperature 1.

The result is the adapter's model. Asked without its soft prompt (by /v1/completions, or with another chat template),
it computes what the base does, except that a virtual token can be sampled in states unlike those measured, as at high
temperatures: in 1 of 1,600 answers of nano at temperature 1.5. `ner-model serve` masks the virtual tokens under every
name (`logits_mask`); a plain vLLM does not.
"""

import argparse
import hashlib
import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llamafactory_ner.checks.configs import read_model_config
from ner_common.errors import UserError, rooted
from ner_common.files import check_free, whole_folder
from ner_common.fingerprints import weights_fingerprint
from ner_common.weights import check_weights
from ner_data.gold import Entity, Record
from ner_data.prompt import FILE_NAME, PromptSpec
from ner_models.serving.adapters import Adapter, check_base, check_path, load_adapter, warn_of_another_name
from ner_models.serving.soft_prompts import (
    P_TUNING,
    chat_template,
    check_fit,
    check_stored,
    tokens_of,
    virtual_tokens_of,
)

# How far below the best real logit a virtual token's is fitted, and the smallest accepted margin: exp(-20) is 2e-9 per
# token, or 1 in 40 for 128 virtual tokens over 1,000 answers of 100 tokens.
WANTED, MARGIN = 40.0, 20.0
CONVERSATIONS, LENGTH = 32, 48  # conversations to collect hidden states from; tokens sampled in each
VERSION = b" spare rows kept"  # changes when a copy that was baked before would be another one now


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("adapter", type=Path, help="A P-tuning adapter's folder, such as saves/MODEL/p_tuning/CORPUS.")
    parser.add_argument("out", type=Path, help="The folder for the plain checkpoint; it must not exist yet.")
    parser.add_argument("--base", type=Path, help="The base model (default: the one the adapter was trained on).")


def run(args: argparse.Namespace) -> None:
    done = export(args.adapter, args.out, base=args.base)
    print(f"{rooted(args.out)}: {done.tokens} virtual tokens, smallest margin of their logits {done.margin:.1f}")


@dataclass(frozen=True, slots=True)
class Export:
    """A baked checkpoint: its number of virtual tokens, and how far their logits stay below the best real ones."""

    tokens: int
    margin: float


def export(path: Path, out: Path, *, base: Path | None = None) -> Export:
    """Bake a P-tuning adapter into a plain checkpoint in a new folder; prints a warning about a renamed base.

    Args:
        path: the adapter's folder.
        out: the checkpoint's folder, which must not exist.
        base: the base model's folder; by default the one the adapter was trained on.

    Raises:
        UserError: see `check` and `bake_checkpoint`; or there is no adapter.
    """
    adapter = load_adapter(path.name, path)
    base = base or Path(adapter.base)
    check(adapter, base, out)
    warn_of_another_name(adapter, base)
    return Export(tokens_of(adapter), bake_checkpoint([adapter], base, out))


def check(adapter: Adapter, base: Path, out: Path) -> None:
    """Refuse what cannot be exported.

    Raises:
        UserError: another kind of adapter, no base model, a different base, a prompt that fills the context, or an
            existing `out`.
    """
    if adapter.kind != P_TUNING:
        remedy = "merge LoRA with `make merge`, serve prefix tuning with `ner-model serve`"
        raise UserError(f"{rooted(adapter.path)}: is a {adapter.kind} adapter, only P_TUNING can be baked; {remedy}")
    check_path(base)
    if read_model_config(base) is None:
        raise UserError(f"{rooted(base)}: no model there (no config.json); name its folder with --base")
    check_base(adapter, base)
    check_fit(adapter, base)
    check_stored(adapter)
    check_weights(base, "download the model again")
    check_free(out)


def bake_checkpoint(adapters: Sequence[Adapter], base: Path, out: Path) -> float:
    """Write the checkpoint for adapters that have been checked; returns the smallest margin of their tokens' logits.

    The checkpoint's chat template puts the first adapter's virtual tokens before every conversation; with several,
    `ner-model serve` has a template of its own.

    Raises:
        UserError: the margin is too small.
    """
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(base)
    model = AutoModelForCausalLM.from_pretrained(base, dtype="auto").eval()
    model.to("cuda" if torch.cuda.is_available() else "cpu")
    names = [name for own in virtual_tokens_of(adapters) for name in own]
    # Most bases have more rows than tokens. These stay as they are, with names: the base's softmax gives them a share
    # (up to 3.9 % with nano), without which the probabilities of all other tokens would be higher.
    spare = range(len(tokenizer), model.get_input_embeddings().weight.shape[0])
    added = [*(f"<|ner_unused_{number}|>" for number in spare), *names]
    tokenizer.add_special_tokens({"additional_special_tokens": added}, replace_extra_special_tokens=False)
    ids = tokenizer.convert_tokens_to_ids(names)
    with torch.no_grad():
        found = [hidden_states(model, tokenizer, one, n, len(adapters)) for n, one in enumerate(adapters)]
        states, best = (torch.cat(parts) for parts in zip(*found, strict=True))
        model.to("cpu")
        margin = bake(model, ids, torch.cat([stored_prompt(one) for one in adapters]), states, best)
    if margin < MARGIN:
        raise UserError(f"{rooted(base)}: the virtual tokens' logits come within {margin:.1f} of real ones; use LoRA")
    tokenizer.chat_template = "".join(names[: tokens_of(adapters[0])]) + chat_template(base)
    with whole_folder(out) as unfinished:
        model.save_pretrained(unfinished)
        tokenizer.save_pretrained(unfinished)
    return margin


def stored_prompt(adapter: Adapter) -> Any:
    """The learned virtual tokens [N, hidden]."""
    from safetensors.torch import load_file

    return load_file(adapter.path / "adapter_model.safetensors")["prompt_embeddings"]


def conversations(tokenizer: Any, adapter: Adapter) -> list[tuple[list[int], list[int]]]:
    """Token ids of prompts, each with an answer; an empty answer is for the model to generate.

    The texts are random tokens. If the adapter has its prompt spec, half of them are asked as in training, with an
    answer in that form: hidden states inside answers are unlike all others.
    """
    rng = random.Random(0)
    path = adapter.path / FILE_NAME
    spec = PromptSpec.load(path) if path.is_file() else None
    plain = sorted(set(range(len(tokenizer))) - set(tokenizer.all_special_ids))
    made = []
    for number in range(CONVERSATIONS):
        text = tokenizer.decode(rng.choices(plain, k=rng.randrange(4, 48)))
        turns, answer = [{"role": "user", "content": text}], ""
        if spec and number % 2:
            turns = spec.messages(text)
            ends = sorted(rng.sample(range(len(text) + 1), min(6, len(text) // 2 * 2)))
            spans = zip(ends[::2], ends[1::2], strict=True)
            found = tuple(Entity(start, end, rng.choice(spec.labels), text[start:end]) for start, end in spans)
            answer = spec.render(Record("", text, found))
        prompt = tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
        prompt, answer = (tokenizer(part, add_special_tokens=False)["input_ids"] for part in (prompt, answer))
        made.append((prompt, answer))
    return made


def hidden_states(model: Any, tokenizer: Any, adapter: Adapter, number: int, of: int) -> tuple[Any, Any]:
    """Hidden states [states, hidden] before the output layer, and the best real logit [states] at each.

    This adapter is the one with this ``number``, from 0, ``of`` several, which share the conversations.
    The states come from the answers of `conversations`, given or generated at temperature 1, both with the soft prompt
    and without it, because `ner-model serve` serves the base from the baked model too.
    """
    import torch
    from transformers import GenerationConfig

    embed = model.get_input_embeddings()
    virtual = stored_prompt(adapter).to(embed.weight)[None]
    own, model.generation_config = model.generation_config, GenerationConfig(do_sample=True, top_k=0, pad_token_id=0)
    torch.manual_seed(0)
    states, best = [], []
    for prompt, answer in conversations(tokenizer, adapter)[number % CONVERSATIONS :: of]:
        asked = embed(torch.tensor([prompt], device=model.device))
        for begun in (asked, torch.cat([virtual, asked], dim=1)):
            given = torch.tensor([answer], dtype=torch.long, device=model.device)
            if not answer:
                mask = torch.ones(begun.shape[:2], dtype=torch.long, device=model.device)
                given = model.generate(inputs_embeds=begun, attention_mask=mask, max_new_tokens=LENGTH)
            output = model(inputs_embeds=torch.cat([begun, embed(given)], dim=1), output_hidden_states=True)
            states.append(output.hidden_states[-1][0, begun.shape[1] - 1 :].float().cpu())
            best.append(output.logits[0, begun.shape[1] - 1 :].float().amax(-1).cpu())
    model.generation_config = own
    return torch.cat(states), torch.cat(best)


def row_without_chance(states: Any, best: Any) -> Any:
    """The smallest output row [hidden] whose logits are WANTED below the `best` real ones [n] on `states` [n, hidden].

    A squared hinge loss: states on which the logit is low enough already have no influence, so the row stays small and
    keeps the margin on unseen states; a least-squares fit does not.
    """
    import torch

    row = torch.zeros(states.shape[1], requires_grad=True)
    search = torch.optim.LBFGS([row], max_iter=300, line_search_fn="strong_wolfe")

    def loss() -> Any:
        search.zero_grad()
        short = torch.nn.functional.softplus((states @ row - best + WANTED) / 2)
        value = short.square().mean() + 1e-4 * row.square().sum()
        value.backward()
        return value

    with torch.enable_grad():
        search.step(loss)
    return row.detach()


def bake(model: Any, ids: list[int], prompt: Any, states: Any, best: Any) -> float:
    """Put the virtual tokens into `model` in place; returns the smallest margin on a held-out third of the states."""
    import torch

    held_out = torch.arange(len(states)) % 3 == 0
    row = row_without_chance(states[~held_out], best[~held_out])
    margin = float((best[held_out] - states[held_out] @ row.to(model.dtype).float()).min())
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


def baked_folder(adapters: Sequence[Adapter], base: Path) -> Path:
    """Where `ner-model serve` keeps the baked copy: in cache/baked, named after a hash of its inputs (the weights
    of adapters and base, and the prompt spec, to whose prompts the baked rows are fitted) and of this version."""
    name = hashlib.sha256()
    for adapter in adapters:
        spec = adapter.path / FILE_NAME
        name.update(f"{weights_fingerprint(adapter.path)} {weights_fingerprint(base)} ".encode())
        name.update((spec.read_bytes() if spec.is_file() else b"") + VERSION)
    return Path("cache/baked") / name.hexdigest()[:16]
