"""Hook of `llamafactory.train.sft.workflow`: `share_prompt`, which computes a batch's common prompt once."""

import inspect
from functools import wraps
from types import ModuleType
from typing import Any

from llamafactory_ner.checks.refusal import stop
from llamafactory_ner.checks.sharing import model_problem
from llamafactory_ner.shared_rows import shared_row


def hook(module: ModuleType) -> None:
    """Make `run_sft` lay out its batches as shared rows and load models that can read these, if it is asked to."""
    host: Any = module
    original = host.run_sft

    @wraps(original)
    def run_sft(model_args: Any, data_args: Any, training_args: Any, finetuning_args: Any, *rest: Any) -> None:
        if not finetuning_args.share_prompt:
            original(model_args, data_args, training_args, finetuning_args, *rest)
            return
        refuse_model(model_args, data_args, finetuning_args)
        load_model, collator = host.load_model, host.SFTDataCollatorWith4DAttentionMask

        def load_sharing_model(*args: Any, **kwargs: Any) -> Any:
            model = load_model(*args, **kwargs)
            read_shared_rows(model, finetuning_args.share_prompt_attention)
            return model

        host.load_model, host.SFTDataCollatorWith4DAttentionMask = load_sharing_model, lambda **_: shared_row
        try:
            original(model_args, data_args, training_args, finetuning_args, *rest)
        finally:
            host.load_model, host.SFTDataCollatorWith4DAttentionMask = load_model, collator

    host.run_sft = run_sft


def refuse_model(model_args: Any, data_args: Any, finetuning_args: Any) -> None:
    """Stop if the model, judged by its configuration, cannot share a prompt."""
    from llamafactory.model.loader import load_config

    longest = data_args.cutoff_len + (finetuning_args.num_virtual_tokens or 0)
    refuse_config(load_config(model_args), model_args.model_name_or_path, longest)


def refuse_config(config: Any, name: str, longest: int) -> None:
    """`refuse_model` for the configuration of the model of this name, and records of at most ``longest`` tokens."""
    from transformers import AutoModelForCausalLM

    architecture = AutoModelForCausalLM._model_mapping.get(type(config), None)
    forward = inspect.signature(architecture.forward).parameters if architecture else {}
    if problem := model_problem(config, architecture, forward, longest):
        stop(f"share_prompt does not work with {name}: {problem}; set share_prompt: false")


def read_shared_rows(model: Any, attention: str) -> None:
    """Make a loaded model, or the base of a PEFT model, read batches of `shared_row`.

    Args:
        attention: ``sdpa`` or ``flex_attention``.
    """
    from llamafactory_ner import label_loss, shared_attention

    shared_attention.register()
    base = model.get_base_model() if hasattr(model, "get_base_model") else model
    base.set_attn_implementation(shared_attention.IMPLEMENTATIONS[attention])
    label_loss.register(base)
