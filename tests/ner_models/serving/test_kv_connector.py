"""The connector's arithmetic; what it does inside vLLM is tested against PEFT in test_soft_prompt_serving."""

import pytest

pytestmark = pytest.mark.serve


@pytest.mark.parametrize(
    ("heads", "per_rank", "ranks", "held"),
    [
        (8, 8, 1, [[0, 1, 2, 3, 4, 5, 6, 7]]),
        (8, 4, 2, [[0, 1, 2, 3], [4, 5, 6, 7]]),
        (2, 1, 4, [[0], [0], [1], [1]]),  # fewer heads than ranks: vLLM gives neighbouring ranks the same head
    ],
)
def test_a_tensor_parallel_rank_gets_its_own_heads(heads, per_rank, ranks, held) -> None:
    from ner_models.serving.kv_connector import heads_of_rank

    assert [list(range(heads))[heads_of_rank(heads, per_rank, rank, ranks)] for rank in range(ranks)] == held
