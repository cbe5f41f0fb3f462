"""Attention over rows that share a prompt (`shared_rows`), as an attention function of transformers.

The dense mask of such a row would cost time and memory that grow with the square of the row. Instead, the prefix of
each group attends to itself, and the rests of a group are a padded batch that attends to the prefix and to themselves.
All other parts of the model see the row, without padding.

flex_attention does the same in one call with a block mask, on devices for which torch compiles it.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch.nn.functional import pad, scaled_dot_product_attention
from transformers.integrations.flex_attention import flex_attention_forward
from transformers.integrations.sdpa_attention import repeat_kv, sdpa_attention_forward
from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS, sdpa_mask
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

_plain: Callable[..., tuple[Any, Any]] = sdpa_attention_forward
IMPLEMENTATIONS = {"sdpa": "shared_prompt_sdpa", "flex_attention": "shared_prompt_flex"}


def register() -> None:
    """Make the two implementations known to transformers, under the values of `IMPLEMENTATIONS`."""
    for name, function in (("sdpa", shared_sdpa), ("flex_attention", shared_flex)):
        ALL_ATTENTION_FUNCTIONS.register(IMPLEMENTATIONS[name], function)
        ALL_MASK_ATTENTION_FUNCTIONS.register(IMPLEMENTATIONS[name], sdpa_mask)


def shared_sdpa(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    shared_prompt: dict[str, Any] | None = None,
    **kwargs: Any,
) -> tuple[Any, Any]:
    """An attention function of transformers: plain SDPA without a layout, else that of the row.

    Args:
        query: [1, heads, own + tokens, width], where own are the virtual tokens that are fed to the model (p_tuning).
        key, value: [1, key heads, virtual + tokens, width], where virtual are all virtual tokens; values may have a
            width of their own.
        shared_prompt: the layout of the row's tokens.

    Returns:
        [1, own + tokens, heads, width of the values]
    """
    if shared_prompt is None:
        return _plain(module, query, key, value, attention_mask, dropout, scaling, **kwargs)
    options = {"dropout_p": dropout, "scale": scaling}
    own, virtual = (states.shape[2] - shared_prompt["tokens"] for states in (query, key))
    parts = []
    if own:
        parts.append(_causal(query[:, :, :own], key[:, :, :own], value[:, :, :own], 0, options))
    for group in shared_prompt["groups"]:
        start, middle, end = group["start"], group["rests_start"], group["end"]
        before_keys, before_values = (
            torch.cat([states[:, :, :virtual], states[:, :, virtual + start : virtual + middle]], dim=2)
            if start
            else states[:, :, : virtual + middle]
            for states in (key, value)
        )
        if start < middle:
            asking = query[:, :, own + start : own + middle]
            parts.append(_causal(asking, before_keys, before_values, virtual, options))
        if middle < end:
            asking, keys, values = (
                _rests(states, group, offset) for states, offset in ((query, own), (key, virtual), (value, virtual))
            )
            keys, values = _after(before_keys, keys), _after(before_values, values)
            parts.append(_attend_rests(asking, keys, values, group, options))
    return torch.cat(parts, dim=1), None


def _causal(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, virtual: int, options: dict[str, Any]
) -> torch.Tensor:
    """Attention [1, length, heads, width] of a prefix to itself and the `virtual` keys before it."""
    groups = query.shape[1] // key.shape[1]
    key, value = repeat_kv(key, groups), repeat_kv(value, groups)
    mask = None
    if virtual:
        mask = query.new_ones(query.shape[2], key.shape[2], dtype=torch.bool).tril(virtual)
    output = scaled_dot_product_attention(query, key, value, attn_mask=mask, is_causal=not virtual, **options)
    return output.transpose(1, 2)


def _rests(states: torch.Tensor, group: dict[str, Any], offset: int) -> torch.Tensor:
    """The rests of a group as a padded batch [records, heads, longest, width] of the row's `states`."""
    records, _, longest, _ = group["mask"].shape
    heads, width = states.shape[1], states.shape[3]
    return states[0].index_select(1, group["rests"] + offset).view(heads, records, longest, width).transpose(0, 1)


def _after(before: torch.Tensor, states: torch.Tensor) -> torch.Tensor:
    """The same keys or values before those of every rest."""
    return torch.cat([before.expand(len(states), -1, -1, -1), states], dim=2)


def _attend_rests(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, group: dict[str, Any], options: dict[str, Any]
) -> torch.Tensor:
    """Attention [1, tokens of all rests, heads, width] of the rests to what is before them and to themselves.

    The query heads that share a key head are laid one after the other along the length, so keys are not repeated.
    """
    records, heads, longest, _ = query.shape
    key_heads, width = value.shape[1], value.shape[3]
    queries_per_key = heads // key_heads
    query = query.reshape(records, key_heads, queries_per_key * longest, -1)
    mask = pad(group["mask"], (key.shape[2] - group["mask"].shape[3], 0), value=True)  # all see the virtual tokens
    mask = mask.repeat(1, 1, queries_per_key, 1)
    output = scaled_dot_product_attention(query, key, value, attn_mask=mask, **options)
    output = output.reshape(records, heads, longest, width).transpose(1, 2).reshape(1, records * longest, heads, width)
    return output.index_select(1, group["kept"])


def shared_flex(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: Any,
    dropout: float = 0.0,
    scaling: float | None = None,
    shared_prompt: dict[str, Any] | None = None,
    **kwargs: Any,
) -> tuple[Any, Any]:
    """`shared_sdpa` by one call of flex_attention; its block mask is made once per row and kept in the layout."""
    if shared_prompt is None:
        return _plain(module, query, key, value, attention_mask, dropout, scaling, **kwargs)
    if "block_mask" not in shared_prompt:
        shared_prompt["block_mask"] = block_mask(shared_prompt, query, key)
    mask = shared_prompt["block_mask"]
    output: tuple[Any, Any] = flex_attention_forward(
        module, query, key, value, mask, scaling=scaling, dropout=dropout, **kwargs
    )
    return output


def block_mask(layout: dict[str, Any], query: torch.Tensor, key: torch.Tensor) -> Any:
    """flex_attention's mask [1, 1, own + tokens, virtual + tokens] of a row; see `shared_sdpa`."""
    from torch.nn.attention.flex_attention import create_block_mask

    own, virtual = (states.shape[2] - layout["tokens"] for states in (query, key))
    # Which group and rest each key belongs to: virtual tokens are of group -1, which all see; prefixes are rest -1.
    groups = torch.full((virtual + layout["tokens"],), -1)
    rests = torch.full_like(groups, -1)
    for number, group in enumerate(layout["groups"]):
        groups[virtual + group["start"] : virtual + group["end"]] = number
        longest = group["mask"].shape[2]
        rests[virtual + group["rests_start"] : virtual + group["end"]] = group["kept"].cpu() // max(longest, 1)
    groups, rests = groups.to(query.device), rests.to(query.device)
    shift = virtual - own  # keys that are no queries

    def visible(_batch: Any, _head: Any, asking: Any, asked: Any) -> Any:
        at = asking + shift
        in_group = (groups[asked] == groups[at]) & ((rests[asked] == -1) | (rests[asked] == rests[at]))
        return ((groups[asked] == -1) | in_group) & (asked <= at)

    return create_block_mask(visible, None, None, query.shape[2], key.shape[2], device=query.device)
