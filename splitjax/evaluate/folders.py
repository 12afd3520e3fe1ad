"""A Hugging Face folder as a model, its parameters and its tokenizer, ids as its makers number them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

from splitjax import config
from splitjax.config import UserError
from splitjax.config.hf_shape import TOKENIZER, end_token_of, eos_ids, read_shape
from splitjax.data.tokenizing.fast_tokenizer import adopt
from splitjax.data.tokenizing.sentencepiece_tokenizer import EXPORTED, read_exported
from splitjax.data.tokenizing.tokenizer import Tokenizer
from splitjax.model import from_huggingface
from splitjax.model.weights import Weights

Params = dict[str, Any]


@dataclass(frozen=True)
class ModelFolder:
    """A folder of Llama, Qwen2 or Qwen3 type; nothing heavy is read before it is asked for.

    Args:
        end_token: the token that begins and ends documents; None: the folder's own choice (see `end_token_of`).

    Raises:
        UserError: no such folder, another architecture, or a feature that no model here has; names it.
    """

    path: Path
    end_token: str | None = None

    def __post_init__(self) -> None:
        read_shape(self.path)

    @cached_property
    def shape(self) -> config.Model:
        return read_shape(self.path)[0]

    @cached_property
    def vocab_size(self) -> int:
        """Rows of its embedding; its tokenizer may have fewer."""
        return read_shape(self.path)[1]

    @cached_property
    def tokenizer(self) -> Tokenizer:
        """Its tokenizer.

        Raises:
            UserError: no tokenizer.json and no SentencePiece model of ours, or one with ids beyond the vocabulary.
        """
        where = self.path / TOKENIZER
        found: Tokenizer
        if where.is_file():
            found = adopt(where, self.end_token or end_token_of(self.path))
        elif (self.path / EXPORTED).is_file():
            found = read_exported(self.path, self.end_token)
        else:
            raise UserError("no such file", where=str(where), mend="Only tokenizers with a tokenizer.json are read.")
        if found.vocab_size > self.vocab_size:
            raise UserError(f"has {found.vocab_size} tokens, the model {self.vocab_size}", where=str(where))
        return found

    @cached_property
    def stops(self) -> frozenset[int]:
        """The ids that end a text: every one that its configs name.

        Raises:
            UserError: an `eos_token_id` that is no id.
        """
        return frozenset(eos_ids(self.path))

    @cached_property
    def weights(self) -> Weights:
        return Weights(self.path)

    def params(self) -> Params:
        """Its parameters, float32.

        Raises:
            UserError: a tensor is missing, has another shape, or is no part of this architecture.
        """
        params = from_huggingface(self.weights, self.shape)
        self._check(params)
        return params

    def _check(self, params: Params) -> None:
        import jax

        wanted = _shapes(self.shape, self.vocab_size)
        found = jax.tree_util.tree_leaves_with_path(params)
        for (path, leaf), (_, like) in zip(found, jax.tree_util.tree_leaves_with_path(wanted), strict=True):
            if leaf.shape != like.shape:
                name = ".".join(str(entry.key) for entry in path)
                raise UserError(f"{name} has shape {leaf.shape}, not {like.shape}", where=str(self.path))


@lru_cache(maxsize=8)
def _shapes(shape: config.Model, vocab_size: int) -> Params:
    """Of the parameters of such a model; the models of a set share one shape, and tracing it takes a while."""
    import jax

    from splitjax.model import LanguageModel

    return jax.eval_shape(LanguageModel(shape, vocab_size).init, jax.random.key(0))
