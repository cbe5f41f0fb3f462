"""Rows that share a prompt: the records of a batch laid out so that what they have in common is computed once.

A batch becomes one row of tokens, group after group::

    [prefix A | rest 1 | rest 2 | … | prefix B | rest 8 | rest 9 | …]

The records of a group begin with the same tokens. Each rest continues at its prefix's positions and sees its prefix
and itself, causally (`shared_attention`), so every token has the states that it has in a batch of whole records. What
is shared is read off the token ids: no configuration, any chat template, any mixture of corpora. Records that share
nothing are a batch without padding.
"""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

IGNORED = -100  # the label of tokens without a loss, in torch and llamafactory
GROUP_COST = 16  # tokens that one more group must save, because each is a call of the attention kernel in every layer


def common_length(one: Sequence[int], other: Sequence[int]) -> int:
    """The number of tokens with which both begin."""
    shorter = min(len(one), len(other))
    return next((n for n in range(shorter) if one[n] != other[n]), shorter)


def grouped(records: Sequence[Sequence[int]]) -> list[tuple[int, list[int]]]:
    """Divide records (token ids) into groups with a common prefix, such that few tokens are computed.

    Groups are runs of neighbours in lexicographic order, whose common prefix is the shortest that two neighbours have;
    the best division of the first n records is found from the best divisions of fewer.

    Returns:
        Of each group, the length of its prefix in tokens and the indices of its records, in the order given.
    """
    order = sorted(range(len(records)), key=lambda index: list(records[index]))
    common = [0, *(common_length(records[one], records[other]) for one, other in pairwise(order))]
    best: list[tuple[int, int]] = [(0, 0)]  # of the first n records: cost, and where their last group begins
    for end in range(1, len(order) + 1):
        prefix = len(records[order[end - 1]])
        choices = []
        for start in range(end - 1, -1, -1):
            choices.append((best[start][0] + GROUP_COST - (end - start - 1) * prefix, start))
            prefix = min(prefix, common[start])
        best.append(min(choices))
    groups = []
    end = len(order)
    while end:
        start = best[end][1]
        prefix = min(common[start + 1 : end], default=0)
        groups.append((prefix, sorted(order[start:end])))
        end = start
    return sorted(groups, key=lambda group: group[1])


def shared_row(features: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The batch that a causal language model of transformers is called with, instead of a padded one.

    Args:
        features: of each record ``input_ids`` and ``labels``, lists of the same length without padding.

    Returns:
        ``input_ids`` and ``position_ids`` [1, tokens]; ``logits_to_keep`` [targets], the positions of the row that
        predict a label; ``shift_labels`` [1, targets], what they predict; ``labels``, all that are not ignored, which
        llamafactory's trainer counts; an ``attention_mask`` that nothing reads but that keeps transformers from making
        one; and ``shared_prompt``, the `shared_attention` layout.
    """
    import torch

    records = [list(feature["input_ids"]) for feature in features]
    labels = [list(feature["labels"]) for feature in features]
    row: list[int] = []
    positions: list[int] = []
    kept: list[int] = []
    targets: list[int] = []
    layout_groups = []
    for prefix, members in grouped(records):
        start = len(row)
        row += records[members[0]][:prefix]
        positions += range(prefix)
        rests = []
        for member in members:
            ids, before = records[member], len(row) - prefix
            rests.append((len(row), len(ids) - prefix))
            row += ids[prefix:]
            positions += range(prefix, len(ids))
            for at in range(1, len(ids)):
                if labels[member][at] != IGNORED:
                    kept.append((start if at - 1 < prefix else before) + at - 1)
                    targets.append(labels[member][at])
        layout_groups.append(_group(start, prefix, rests))
    return {
        # First, because the trainer takes the number of records from the first tensor.
        "shared_prompt": {
            "lengths": torch.tensor([len(ids) for ids in records]),
            "tokens": len(row),
            "groups": layout_groups,
        },
        "input_ids": torch.tensor([row]),
        "position_ids": torch.tensor([positions]),
        "attention_mask": torch.ones(1, 1, 1, 1, dtype=torch.bool),
        # Also if there are none.
        "labels": torch.tensor(
            [[label for record in labels for label in record if label != IGNORED]], dtype=torch.long
        ),
        "shift_labels": torch.tensor([targets], dtype=torch.long),
        "logits_to_keep": torch.tensor(kept, dtype=torch.long),
    }


def _group(start: int, prefix: int, rests: Sequence[tuple[int, int]]) -> dict[str, Any]:
    """One group of a layout.

    Args:
        start, prefix: where its prefix begins in the row, and its length.
        rests: of each record, where its rest begins in the row, and its length.

    Returns:
        ``start``, ``rests_start`` and ``end`` of the group in the row. With its n records and the longest rest of S
        tokens: ``rests`` [n * S], the row's tokens as a padded batch; ``kept``, which of these are no padding, in the
        order of the row; ``mask`` [n, 1, S, prefix + S], what each of them sees.
    """
    import torch

    longest = max(length for _, length in rests)
    within = torch.arange(longest)
    starts, lengths = (torch.tensor(column)[:, None] for column in zip(*rests, strict=True))
    real = within < lengths
    before = torch.ones(len(rests), 1, longest, prefix, dtype=torch.bool)
    causal = (within[:, None] >= within).expand(len(rests), 1, longest, longest)
    return {
        "start": start,
        "rests_start": start + prefix,
        "end": start + prefix + sum(length for _, length in rests),
        # Padding repeats the first token of the row, which costs no special case; nothing that is kept sees it.
        "rests": torch.where(real, starts + within, 0).flatten(),
        "kept": real.flatten().nonzero().flatten(),
        "mask": torch.cat([before, causal], dim=-1),
    }
