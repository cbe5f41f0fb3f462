"""PEFT's soft-prompt model with four corrections that training and batched generation need.

Imported when llamafactory builds a model, not before: torch and peft are heavy.

1. Positions count from the attention mask, so left padding changes nothing (PEFT drops `position_ids`).
2. The prefix is attended to but never appended to in training, so layers can be recomputed (see recompute.py).
3. The prompt encoder itself is saved with the adapter. PEFT saves only the encoder's output, which is enough to
   serve, but not to resume training: it would go through the encoder a second time.
4. Logits have the length of the labels for p_tuning too, whose virtual tokens take part in the forward pass.
"""

import warnings
from pathlib import Path
from typing import Any

import torch
from peft import PeftConfig, PeftModelForCausalLM
from safetensors.torch import load_file, save_file
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer

from llamafactory_ner.methods import method_of
from llamafactory_ner.recompute import recompute_layers
from ner_common.adapters import ENCODER_FILE


def positions(attention_mask: torch.Tensor) -> torch.Tensor:
    """Positions [batch, length] over the unmasked tokens of `attention_mask` (same shape); 0 under the mask."""
    return (attention_mask.long().cumsum(-1) - 1).clamp(min=0)


class PrefixLayer(DynamicLayer):  # type: ignore[misc]
    """One layer's prefix [batch, kv_heads, virtual_tokens, head_dim], prepended to keys and values, unchanged."""

    def __init__(self, keys: torch.Tensor, values: torch.Tensor) -> None:
        super().__init__()
        self.keys, self.values = keys, values
        self.dtype, self.device = keys.dtype, keys.device
        self.is_initialized = True

    def update(self, key_states: torch.Tensor, value_states: torch.Tensor, *_: Any, **__: Any) -> tuple[Any, Any]:
        keys, values = self.keys.to(key_states), self.values.to(value_states)
        return torch.cat([keys, key_states], dim=-2), torch.cat([values, value_states], dim=-2)


class SoftPromptModel(PeftModelForCausalLM):  # type: ignore[misc]
    """P-tuning (PEFT's PromptEncoder) or prefix tuning (P-Tuning v2) around a causal language model."""

    def __init__(self, model: Any, peft_config: PeftConfig, adapter_name: str = "default", **kwargs: Any) -> None:
        wants_recompute = bool(getattr(model, "is_gradient_checkpointing", False))
        if wants_recompute:
            model.gradient_checkpointing_disable()  # PEFT refuses prefix tuning otherwise; ours is enabled below
        super().__init__(model, peft_config, adapter_name, **kwargs)
        # PEFT warns at every generated token that it drops position_ids; we set ours afterwards.
        warnings.filterwarnings("ignore", message="Position ids are not supported for parameter efficient tuning")
        if wants_recompute:
            recompute_layers(model)

    @property
    def virtual_tokens(self) -> int:
        return int(self.active_peft_config.num_virtual_tokens)

    def forward(
        self,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        labels: torch.Tensor | None = None,
        position_ids: torch.Tensor | None = None,
        **kwargs: Any,
    ) -> Any:
        """Loss and logits [batch, length, vocabulary] of `input_ids` [batch, length] after the soft prompt.

        `position_ids` is accepted but used only for a row that shares its prompt (`shared_rows`), which has logits of
        the positions that it asks for; all other positions follow from the mask.
        """
        batch, count = input_ids.shape[0], self.virtual_tokens
        shared = "shared_prompt" in kwargs
        if shared and position_ids is not None:
            virtual = torch.arange(count, device=input_ids.device).expand(batch, count)
            places = torch.cat([virtual, position_ids + count], dim=1)
        else:
            mask = torch.ones_like(input_ids) if attention_mask is None else attention_mask
            attention_mask = torch.cat([mask.new_ones(batch, count), mask], dim=1)
            places = positions(attention_mask)
        kwargs |= {"attention_mask": attention_mask, "use_cache": False}
        method = method_of(vars(self.active_peft_config))
        if method and method.in_every_layer:
            prefix = DynamicCache()
            prefix.layers = [PrefixLayer(layer.keys, layer.values) for layer in self.get_prompt(batch).layers]
            kwargs |= {"past_key_values": prefix, "position_ids": places[:, count:]}
            return self.base_model(input_ids=input_ids, labels=labels, **kwargs)
        embedded = self.word_embeddings(input_ids)
        embedded = torch.cat([self.get_prompt(batch).to(embedded), embedded], dim=1)
        if shared:
            kwargs["logits_to_keep"] = kwargs["logits_to_keep"] + count
        elif labels is not None:
            labels = torch.cat([labels.new_full((batch, count), -100), labels], dim=1)
        output = self.base_model(inputs_embeds=embedded, labels=labels, position_ids=places, **kwargs)
        if not shared:
            output.logits = output.logits[:, count:]
        return output

    def prepare_inputs_for_generation(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """PEFT's step inputs, with the positions that belong to their mask [batch, soft prompt + text so far]."""
        inputs: dict[str, Any] = super().prepare_inputs_for_generation(*args, **kwargs)
        mask = inputs.get("attention_mask")
        if mask is not None:
            fed = inputs["inputs_embeds"] if inputs.get("input_ids") is None else inputs["input_ids"]
            inputs["position_ids"] = positions(mask)[:, -fed.shape[1] :]
        return inputs

    def gradient_checkpointing_enable(self, *_: Any, **__: Any) -> None:
        """What the Trainer calls for `gradient_checkpointing: true`: our recomputation, whatever kind it asks for."""
        recompute_layers(self.base_model)

    def save_pretrained(self, save_directory: str, *args: Any, is_main_process: bool = True, **kwargs: Any) -> None:
        """Save the adapter as PEFT does and, if an MLP produces the prompt, the encoder for further training."""
        super().save_pretrained(save_directory, *args, is_main_process=is_main_process, **kwargs)
        config = self.active_peft_config
        if is_main_process and not config.inference_mode and needs_encoder_file(config):
            encoder = self.prompt_encoder[self.active_adapter].state_dict()
            save_file(
                {k: v.detach().cpu().contiguous() for k, v in encoder.items()}, Path(save_directory) / ENCODER_FILE
            )

    def load_adapter(self, model_id: str, adapter_name: str, is_trainable: bool = False, **kwargs: Any) -> Any:
        """Load for training from ENCODER_FILE (also for a resumed run and the best checkpoint), else as PEFT does.

        Raises FileNotFoundError if training needs the encoder but the folder holds only its output.
        """
        training = adapter_name in self.peft_config and not self.peft_config[adapter_name].inference_mode
        if not training or not needs_encoder_file(self.peft_config[adapter_name]):
            return super().load_adapter(model_id, adapter_name, is_trainable=is_trainable, **kwargs)
        encoder = self.prompt_encoder[adapter_name]
        return encoder.load_state_dict(load_file(Path(model_id) / ENCODER_FILE))


def needs_encoder_file(config: PeftConfig) -> bool:
    """Whether further training needs more than the saved prompt; not if the prompt itself was trained directly."""
    method = method_of(vars(config))
    return method is not None and method.has_mlp(vars(config))
