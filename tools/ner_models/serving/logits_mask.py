"""A vLLM logits processor: the virtual tokens of a baked P-tuning model are never generated under any model name.

For requests like those in training, the baked rows of the output layer already ensure this in any vLLM
(`ner_models.serving.baking`). But a server with other adapters has hidden states on which it was not measured.
"""

from typing import Any

import torch
from vllm.tokenizers import cached_tokenizer_from_config
from vllm.v1.sample.logits_processor import LogitsProcessor

from ner_models.serving.soft_prompts import virtual_tokens


class VirtualTokenMask(LogitsProcessor):  # type: ignore[misc]
    def __init__(self, vllm_config: Any, device: torch.device, is_pin_memory: bool) -> None:
        added = cached_tokenizer_from_config(vllm_config.model_config).get_added_vocab()
        ids = [added[token] for token in virtual_tokens(len(added)) if token in added]
        self.ids = torch.tensor(ids, dtype=torch.long, device=device)

    def is_argmax_invariant(self) -> bool:
        return False

    def update_state(self, batch_update: Any) -> None:
        """Nothing: the mask is the same for all requests."""

    def apply(self, logits: torch.Tensor) -> torch.Tensor:
        """Set the virtual tokens' columns of ``logits`` (requests, vocabulary) to minus infinity, in place."""
        return logits.index_fill_(1, self.ids, float("-inf"))
