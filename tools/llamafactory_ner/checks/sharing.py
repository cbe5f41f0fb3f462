"""Checks for what `share_prompt` does not work with, with the remedy for each."""

import os
from collections.abc import Container, Mapping
from typing import Any

from llamafactory_ner.methods import PEFT_LORA, is_set
from llamafactory_ner.number_format import trains_on_cpu

REMEDY = "or set share_prompt: false"
# Arguments of llamafactory and of transformers' trainer, and what to do instead.
UNSUPPORTED = {
    "packing": "unset it: a shared row holds all records of a batch, without padding",
    "neat_packing": "unset it: a shared row holds all records of a batch, without padding",
    "streaming": "unset it: the batches of a stream are cut up for the processes, and a row cannot be",
    "use_unsloth": "unset it: unsloth replaces the attention",
    "use_kt": "unset it: KTransformers replaces the model",
    "enable_liger_kernel": "unset it: the output layer is computed only where a label is predicted already",
    "use_liger_kernel": "unset it: the output layer is computed only where a label is predicted already",
    "use_hyper_parallel": "unset it: it trains with another loop",
    "use_mca": "unset USE_MCA: Megatron trains with another loop",
    "parallelism_config": "unset it: sequences are cut up for the processes, and a row cannot be",
    "shift_attn": "unset it: it replaces the attention",
    "mixture_of_depths": "unset it: it changes which tokens a layer sees",
    "use_dft_loss": "unset it: its loss needs whole records",
    "use_eaft_loss": "unset it: its loss needs whole records",
    "use_asft_loss": "unset it: its loss needs whole records",
    "moe_aux_loss_coef": "unset it: how tokens are balanced among experts depends on how often the prompt is computed",
    "neftune_noise_alpha": "unset it: every record needs its own noise, in the prompt too",
    "label_smoothing_factor": "unset it: its loss needs whole records",
    "compute_accuracy": "unset it, and score with `ner-eval`",
    "predict_with_generate": "unset it, and use `ner-eval predict`",
}
# Of a model's configuration: what the attention to a shared prompt does not do, or does in another way.
DIFFERING = {
    "attn_logit_softcapping": "its attention is not torch's",
    "attention_dropout": "what drops out would be the same for all records of a batch",
}
ATTENTION = ("auto", "sdpa")
FLEX = "flex_attention"


def sharing_problems(given: Mapping[str, Any]) -> list[str]:
    """Problems of the arguments as written (`given`: name -> value) with `share_prompt`; none if it is not set."""
    if not is_set(given.get("share_prompt")):
        return []
    given = {"use_mca": os.environ.get("USE_MCA"), **given}
    problems = [
        f"share_prompt does not work with {name}: {remedy}"
        for name, remedy in UNSUPPORTED.items()
        if is_set(given.get(name)) and str(given[name]) not in ("0", "0.0")
    ]
    accelerator = given.get("accelerator_config")
    if isinstance(accelerator, Mapping) and is_set(accelerator.get("dispatch_batches")):
        problems.append("share_prompt does not work with dispatch_batches: unset it: batches are cut up for processes")
    if (stage := given.get("stage", "sft")) != "sft":
        problems.append(f"share_prompt does not work with stage {stage}: use stage: sft")
    if (attention := given.get("flash_attn", "auto")) not in ATTENTION:
        problems.append(
            f"share_prompt does not work with flash_attn: {attention}, which cannot mask records from one another: "
            "use flash_attn: sdpa, or share_prompt_attention: flex_attention on a GPU"
        )
    # Its last virtual token predicts the first token of a record, which a row has once for all records.
    if given.get("finetuning_type") == "p_tuning" and is_set(given.get("train_on_prompt")):
        problems.append("share_prompt does not work with train_on_prompt in p_tuning: unset it")
    if given.get("share_prompt_attention") == FLEX and trains_on_cpu(given):
        problems.append(
            f"share_prompt_attention: {FLEX} does not train on a CPU, where torch has no gradients for it: use sdpa"
        )
    if not is_set(given.get("ignore_pad_token_for_loss", True)):
        problems.append(
            "share_prompt does not work with ignore_pad_token_for_loss: false: unset it, rows have no padding"
        )
    if given.get("include_num_input_tokens_seen") == "non_padding":
        problems.append("share_prompt does not work with include_num_input_tokens_seen: non_padding: use all")
    return ["; ".join(problems) + f"; {REMEDY}"] if problems else []


def sharing_doubts(finetuning_args: Any) -> list[str]:
    """What a user should know of a training with `share_prompt`."""
    dropout = finetuning_args.lora_dropout if finetuning_args.finetuning_type in ("lora", PEFT_LORA) else 0
    if not (finetuning_args.share_prompt and dropout):
        return []
    return [
        f"share_prompt with lora_dropout: {dropout} is correct, but not identical: the prompt is computed once "
        "per batch, so all its records have the same dropout there"
    ]


def model_problem(config: Any, architecture: Any, forward: Container[str], longest: int) -> str | None:
    """Why a model cannot share a prompt; None if it can.

    Args:
        config: the model's configuration, as transformers reads it.
        architecture: transformers' class for it; None if it has none.
        forward: the names of that class's arguments of ``forward``.
        longest: tokens of the longest record.
    """
    if architecture is None or any(hasattr(config, f"{kind}_config") for kind in ("vision", "audio", "text")):
        return "only language models that take nothing but text can"
    supported = getattr(architecture, "_supports_attention_backend", False) and architecture._supports_sdpa
    if not supported or getattr(architecture, "_is_stateful", False) or "logits_to_keep" not in forward:
        return f"{architecture.__name__} does not let its attention be replaced"
    for name, effect in DIFFERING.items():
        if value := getattr(config, name, None):
            return f"its config.json has {name}: {value}, and {effect}"
    kinds = set(getattr(config, "layer_types", None) or ["sliding_attention"])
    window = getattr(config, "sliding_window", None)
    if unknown := kinds - {"full_attention", "sliding_attention"}:
        return f"it has layers of {', '.join(sorted(unknown))}"
    if "sliding_attention" in kinds and window and longest > window:
        return f"its attention slides over {window} tokens and records may have {longest} (cutoff_len)"
    return None
