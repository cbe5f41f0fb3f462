"""The sizes of a base model by the names of its ``config.json``; before a download, ``shape:`` of ``model.yaml``.

All are decoders with grouped queries and a gated MLP (Qwen2, Qwen3, GLM, Llama), so parameters follow from the sizes.
"""

from pathlib import Path
from typing import Annotated, Any

from msgspec import Meta, Struct

from ner_common.decoding import convert
from ner_common.errors import UserError, rooted
from ner_common.files import read_json
from ner_models.base_models import FILE_NAME, RECIPES, BaseModel

Size = Annotated[int, Meta(ge=1, le=1 << 24)]


class Shape(Struct, frozen=True, kw_only=True):
    """A base model's sizes, see above."""

    model_type: str
    hidden_size: Size
    intermediate_size: Size
    num_hidden_layers: Size
    num_attention_heads: Size
    vocab_size: Size
    num_key_value_heads: Size | None = None
    head_dim: Size | None = None
    tie_word_embeddings: bool = False

    @property
    def width(self) -> int:
        """Of the queries of all heads together."""
        return self.num_attention_heads * self._head

    @property
    def narrow(self) -> int:
        """Of the keys of all heads together, and of their values."""
        return (self.num_key_value_heads or self.num_attention_heads) * self._head

    @property
    def _head(self) -> int:
        return self.head_dim or self.hidden_size // self.num_attention_heads

    @property
    def linear(self) -> tuple[tuple[int, int], ...]:
        """(outputs, inputs) of the linear layers of one block; GLM stores the first two of the MLP as one."""
        hidden, inner = self.hidden_size, self.intermediate_size
        up = ((2 * inner, hidden),) if self.model_type == "glm" else ((inner, hidden),) * 2
        attention = ((self.width, hidden), (self.narrow, hidden), (self.narrow, hidden), (hidden, self.width))
        return (*attention, *up, (hidden, inner))

    @property
    def linear_weights(self) -> int:
        """Weights of all linear layers but the output layer."""
        return self.num_hidden_layers * sum(outputs * inputs for outputs, inputs in self.linear)

    @property
    def embeddings(self) -> int:
        """Weights of the embedding and of the output layer, which may be the same."""
        return self.vocab_size * self.hidden_size * (1 if self.tie_word_embeddings else 2)

    @property
    def parameters(self) -> int:
        """All of them: Qwen2 and chatglm3 have biases at queries, keys and values, Qwen3 norms of queries and keys."""
        norms = (2 * self.num_hidden_layers + 1) * self.hidden_size
        more = 2 * self._head if self.model_type == "qwen3" else self.width + 2 * self.narrow
        return self.linear_weights + self.embeddings + norms + more * self.num_hidden_layers


def shape_of(weights: Path, model: BaseModel | None) -> Shape | None:
    """The sizes of a model: of the weights in the folder, else of its ``model.yaml``; None if neither says.

    Raises:
        UserError: a file cannot be read, or lacks a size.
    """
    path = weights / "config.json"
    given: Any = read_json(path, "download the model again") if path.is_file() else model and model.shape
    if not given:
        return None
    try:
        return convert(given, Shape)
    except ValueError as error:
        named = path if path.is_file() else RECIPES / (model.name if model else "") / FILE_NAME
        raise UserError(f"{rooted(named)}: {error}; name the sizes as config.json does") from None
