"""A vLLM KV connector that serves prefix tuning (P-Tuning v2): it writes the learned keys and values into the cache.

A request for a prefix comes with a prompt that starts with N placeholder tokens and says in `kv_transfer_params` which
prefix they stand for (ner_models.serving.middleware does both). The scheduler is told that the first N tokens are
computed elsewhere; the worker fills their cache slots before the forward pass. PEFT's keys carry no rotation and its
text starts at position N, which is where vLLM puts it, so the tensors are used unchanged.

vLLM loads this module by name (`kv_connector_module_path`); the interface is marked experimental there, so it is tied
to the version in requirements/ and to the parity tests.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from vllm.distributed import get_tensor_model_parallel_rank, get_tensor_model_parallel_world_size
from vllm.distributed.kv_transfer.kv_connector.v1.base import KVConnectorBase_V1, KVConnectorMetadata, KVConnectorRole
from vllm.logger import init_logger
from vllm.model_executor.models.utils import extract_layer_index

logger = init_logger(__name__)


@dataclass(frozen=True)
class Load:
    """Fill the slots of one request's prefix positions `start`..N-1; `block_ids` are the request's cache blocks."""

    prefix: str
    start: int
    block_ids: list[int]


@dataclass
class Loads(KVConnectorMetadata):  # type: ignore[misc]
    """What the scheduler asks the worker to load in one step."""

    loads: list[Load] = field(default_factory=list)


class PrefixConnector(KVConnectorBase_V1):  # type: ignore[misc]
    """`extra_config`: `placeholder` (token id) and `prefixes` (name -> {"path": adapter folder, "tokens": N})."""

    def __init__(self, vllm_config: Any, role: KVConnectorRole, kv_cache_config: Any) -> None:
        super().__init__(vllm_config, role, kv_cache_config)
        config = vllm_config.kv_transfer_config.kv_connector_extra_config
        self.placeholder = int(config["placeholder"])
        self.lengths = {name: int(entry["tokens"]) for name, entry in config["prefixes"].items()}
        self.paths = {name: Path(entry["path"]) for name, entry in config["prefixes"].items()}
        self.block_size = int(vllm_config.cache_config.block_size)
        self.pending: list[Load] = []
        self.tensors: dict[str, torch.Tensor] = {}

    @property
    def requires_kv_delivery(self) -> bool:
        return False  # nothing is sent to another instance, so a preempted request can simply continue

    # --- in the scheduler ---

    def _prefix_of(self, request: Any) -> str | None:
        name = (request.kv_transfer_params or {}).get("prefix")
        if name not in self.lengths:
            return None
        length, ids = self.lengths[name], request.prompt_token_ids
        if len(ids) <= length or any(token != self.placeholder for token in ids[:length]):
            logger.warning(
                "%s: the prompt does not start with the %d placeholders of %s", request.request_id, length, name
            )
            return None
        return str(name)

    def get_num_new_matched_tokens(self, request: Any, num_computed_tokens: int) -> tuple[int, bool]:
        name = self._prefix_of(request)
        return (max(0, self.lengths[name] - num_computed_tokens) if name else 0), False

    def update_state_after_alloc(self, request: Any, blocks: Any, num_external_tokens: int) -> None:
        name = self._prefix_of(request) if num_external_tokens > 0 else None
        if name:
            self.pending.append(Load(name, self.lengths[name] - num_external_tokens, list(blocks.get_block_ids()[0])))

    def build_connector_meta(self, scheduler_output: Any) -> KVConnectorMetadata:
        pending, self.pending = self.pending, []
        return Loads(pending)

    # --- in the worker ---

    def start_load_kv(self, forward_context: Any, **kwargs: Any) -> None:
        metadata = self._get_connector_metadata()
        for load in metadata.loads:
            positions = torch.arange(load.start, self.lengths[load.prefix])
            blocks = torch.tensor(load.block_ids)[positions // self.block_size]
            slots = blocks * self.block_size + positions % self.block_size
            for name, layer in forward_context.no_compile_layers.items():
                if hasattr(layer, "kv_cache"):
                    self._fill(name, layer, load, slots)

    def _fill(self, name: str, layer: Any, load: Load, slots: torch.Tensor) -> None:
        keys, values = self._keys_values(load.prefix, extract_layer_index(name), layer)
        cache = layer.kv_cache
        slots = slots.to(cache.device)
        layer.impl.do_kv_cache_update(layer, keys[load.start :], values[load.start :], cache, slots)

    def _keys_values(self, prefix: str, index: int, layer: Any) -> tuple[torch.Tensor, torch.Tensor]:
        """One layer's keys and values [N, this rank's kv heads, head_dim] of a prefix."""
        dtype = self._vllm_config.model_config.dtype
        if prefix not in self.tensors:
            stored = load_file(self.paths[prefix] / "adapter_model.safetensors")["prompt_embeddings"]
            self.tensors[prefix] = stored.to(device=layer.kv_cache.device, dtype=dtype)
        whole = self.tensors[prefix].view(self.lengths[prefix], -1, layer.head_size)  # [N, layers * 2 * heads, dim]
        layers = self._vllm_config.model_config.hf_text_config.num_hidden_layers
        heads = whole.shape[1] // (2 * layers)
        by_layer = whole.view(self.lengths[prefix], layers, 2, heads, layer.head_size)
        mine = heads_of_rank(
            heads, layer.num_kv_heads, get_tensor_model_parallel_rank(), get_tensor_model_parallel_world_size()
        )
        keys, values = by_layer[:, index, 0, mine], by_layer[:, index, 1, mine]
        return keys.contiguous(), values.contiguous()

    def wait_for_layer_load(self, layer_name: str) -> None:
        """Nothing: the slots are filled before the forward pass."""

    def save_kv_layer(self, layer_name: str, kv_layer: Any, attn_metadata: Any, **kwargs: Any) -> None:
        """Nothing is saved."""

    def wait_for_save(self) -> None:
        """Nothing is saved."""


def heads_of_rank(heads: int, per_rank: int, rank: int, ranks: int) -> slice:
    """Which of a model's key-value heads a tensor-parallel rank holds: a share, or a copy if there are too few."""
    first = rank * per_rank if heads >= ranks else rank * heads // ranks
    return slice(first, first + per_rank)
