"""The language model as pure functions over a plain tree of parameters."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import jax
import jax.numpy as jnp
from flax import nnx
from jax import Array

from splitjax import config
from splitjax.parallel import constrain, device_here, mean_of_shards

from . import loss as losses
from .attention import Attend, documents, rotary
from .backends import Backend, attention_of, told
from .blocks import Block, Ends
from .layers import Layers, Remat, apply_layers
from .width import group_tree
from .work import remat_of

Params = dict[str, Any]
_BATCH = ("batch", None, None)


@dataclass(frozen=True)
class LanguageModel:
    """A decoder-only transformer; hashable, so it can be closed over by jitted functions.

    Args:
        cfg: shape of the model.
        vocab_size: V.
        base_width: width at which the learning rate was tuned (see `width`).
        precision: type of the arithmetic; parameters are float32 in both.
        z_loss: weight of log²Z in the training objective.
        attention: back end (see `backends`); "auto" is the one that suits the machine.
        layers, remat: how the blocks are run (see `layers`); neither changes a result.
        transfer: whether rates follow the width (see `width`); weights from elsewhere have one rate for all.
        loss_blocks: blocks of positions in the vocabulary loss; None: as suits the device (see `loss`).
        end_id: the token that begins every document: nothing before it is seen from it on (`corpus.end_id`).
    """

    cfg: config.Model
    vocab_size: int
    base_width: int = 128
    precision: Literal["float32", "bfloat16"] = "float32"
    z_loss: float = 0.0
    attention: Backend = "auto"
    layers: Layers = "unroll"
    remat: Remat = "none"
    loss_blocks: int | None = None
    transfer: bool = True
    end_id: int = 0

    @classmethod
    def under(
        cls, train: config.Train, cfg: config.Model, vocab_size: int, *, transfer: bool = True, end_id: int = 0
    ) -> LanguageModel:
        """The model as the recipe `train` runs it; what is "auto" there and not settled is as on a CPU."""
        return cls(
            cfg,
            vocab_size,
            base_width=train.base_width,
            precision=train.precision,
            z_loss=train.z_loss,
            attention=train.attention,
            layers="unroll" if train.layers == "auto" else train.layers,
            remat=remat_of(train),
            loss_blocks=train.loss_blocks,
            transfer=transfer,
            end_id=end_id,
        )

    def init(self, key: Array) -> Params:
        """Fresh float32 parameters; every leaf of "layers" has a leading axis L."""
        ends_key, layers_key = jax.random.split(key)

        def one_layer(layer_key: Array) -> Params:
            return nnx.to_pure_dict(nnx.state(self._new_block(nnx.Rngs(layer_key))))

        params = nnx.to_pure_dict(nnx.state(self._new_ends(nnx.Rngs(ends_key))))
        params["layers"] = jax.vmap(one_layer)(jax.random.split(layers_key, self.cfg.n_layers))
        return params

    def hidden(self, params: Params, tokens_BS: Array) -> Array:
        """Normalised activations (B, S, D) that the output head reads."""
        ends = self.ends(params)
        x_BSD = constrain(ends.embed(tokens_BS), _BATCH)
        cfg = self.cfg
        positions = rotary(tokens_BS.shape[1], cfg.width_of_head, cfg.rope_theta, cfg.rope_scaling)
        document_BS = documents(tokens_BS, self.end_id)

        def block(layer: Params, x_BSD: Array) -> Array:
            return constrain(nnx.merge(self._block_def, layer)(x_BSD, positions, document_BS), _BATCH)

        x_BSD = apply_layers(block, params["layers"], x_BSD, form=self.layers, remat=self.remat)
        return ends.final_norm(x_BSD)

    def logits(self, params: Params, tokens_BS: Array) -> Array:
        """Float32 scores of the next token (B, S, V)."""
        return self.scores(params, self.hidden(params, tokens_BS))

    def scores(self, params: Params, x_BSD: Array) -> Array:
        """`logits` from what `hidden` gives."""
        head_DV = self.ends(params).head_weights_DV()
        scores = jnp.einsum("bsd,dv->bsv", x_BSD, head_DV.astype(x_BSD.dtype), preferred_element_type=jnp.float32)
        return losses.capped(scores, self.cfg.logit_cap)

    def loss(self, params: Params, tokens_BT: Array) -> tuple[Array, dict[str, Array]]:
        """Objective to differentiate, and the mean cross entropy (nats a token) over S = T - 1 targets."""
        x_BSD = self.hidden(params, tokens_BT[:, :-1])

        def mean(x_BSD: Array, head_DV: Array, target_BS: Array) -> tuple[Array, Array]:
            blocks = self._loss_blocks(target_BS)
            return losses.mean_loss(x_BSD, head_DV, target_BS, self.z_loss, blocks, self.cfg.logit_cap)

        objective, nll = mean_of_shards(mean, x_BSD, self.ends(params).head_weights_DV(), tokens_BT[:, 1:])
        return objective, {"loss": jax.lax.stop_gradient(nll)}

    def token_losses(self, params: Params, tokens_BT: Array) -> Array:
        """Cross entropy of each target in nats, float32 (B, S)."""
        x_BSD = self.hidden(params, tokens_BT[:, :-1])
        head_DV, blocks = self.ends(params).head_weights_DV(), self._loss_blocks(tokens_BT[:, 1:])
        return losses.token_losses(x_BSD, head_DV, tokens_BT[:, 1:], blocks, self.cfg.logit_cap)

    def token_scores(self, params: Params, tokens_BT: Array) -> tuple[Array, Array]:
        """`token_losses`, and whether greedy decoding would give the target (B, S)."""
        x_BSD = self.hidden(params, tokens_BT[:, :-1])
        head_DV, blocks = self.ends(params).head_weights_DV(), self._loss_blocks(tokens_BT[:, 1:])
        return losses.token_scores(x_BSD, head_DV, tokens_BT[:, 1:], blocks, self.cfg.logit_cap)

    def groups(self, params: Params) -> dict[str, Any]:
        """Learning-rate multiplier and weight-decay flag of every leaf, with or without an expert axis."""
        return group_tree(params, self.cfg, self.base_width if self.transfer else None)

    @property
    def _dtype(self) -> Any:
        return jnp.bfloat16 if self.precision == "bfloat16" else jnp.float32

    @property
    def _attend(self) -> Attend:
        return attention_of(self.attention, self.cfg.attention_cap)

    def attention_words(self, batch: int, length: int) -> str:
        """Which attention runs here, for tables and records.

        Args:
            batch: windows (B) of one call, of all experts of a stack together.
            length: S.
        """
        shape = (batch, length, self.cfg.n_heads, self.cfg.width_of_head)
        return told(self.attention, self.cfg.attention_cap, jax.ShapeDtypeStruct(shape, self._dtype))

    def _new_block(self, rngs: nnx.Rngs) -> Block:
        return Block(self.cfg, self._attend, self._dtype, rngs)

    def _new_ends(self, rngs: nnx.Rngs) -> Ends:
        return Ends(self.cfg, self.vocab_size, self.base_width, self._dtype, rngs)

    @cached_property
    def _block_def(self) -> Any:
        return nnx.split(nnx.eval_shape(lambda: self._new_block(nnx.Rngs(0))))[0]

    @cached_property
    def _ends_def(self) -> Any:
        return nnx.split(nnx.eval_shape(lambda: self._new_ends(nnx.Rngs(0))))[0]

    def block(self, layer: Params, attend: Attend) -> Block:
        """The block of one layer's weights, with attention of the caller's."""
        block = nnx.merge(self._block_def, layer)
        block.attention.attend = attend
        return block

    def ends(self, params: Params) -> Ends:
        """Embedding, last norm and head."""
        return nnx.merge(self._ends_def, {name: leaf for name, leaf in params.items() if name != "layers"})

    def _loss_blocks(self, target_BS: Array) -> int:
        batch, length = target_BS.shape
        if self.loss_blocks is None:
            rows = losses.rows_at_once(self.vocab_size, *device_here())
            return losses.blocks_for(batch, length, self.vocab_size, rows)
        if length % self.loss_blocks:
            raise config.UserError(f"{self.loss_blocks} does not divide seq_len={length}", where="train.loss_blocks")
        return self.loss_blocks
