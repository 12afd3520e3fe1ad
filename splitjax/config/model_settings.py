"""Settings of the model's shape."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, SerializerFunctionWrapHandler, model_serializer, model_validator

from .errors import did_you_mean
from .presets import PRESETS
from .settings import Settings


class RopeScaling(Settings):
    """Rotary positions stretched beyond the context that a checkpoint was first trained on."""

    type: Literal["linear", "llama3"] = Field(
        description="linear: all frequencies are divided by factor; llama3: those that turn seldom in a context."
    )
    factor: float = Field(gt=0, description="What frequencies are divided by.")
    low_freq_factor: float | None = Field(
        None, gt=0, description="Turns in the context before, up to which factor applies whole (llama3)."
    )
    high_freq_factor: float | None = Field(
        None, gt=0, description="Turns from which on it does not apply, between both by degrees (llama3)."
    )
    original_max_position_embeddings: int | None = Field(None, ge=1, description="Tokens of that context (llama3).")

    @model_validator(mode="after")
    def _keys_of_its_type(self) -> RopeScaling:
        own = ("low_freq_factor", "high_freq_factor", "original_max_position_embeddings")
        for key in own:
            if (getattr(self, key) is None) == (self.type == "llama3"):
                raise ValueError(f"type={self.type} {'needs' if self.type == 'llama3' else 'takes no'} '{key}'")
        if self.low_freq_factor and self.high_freq_factor and self.low_freq_factor >= self.high_freq_factor:
            raise ValueError(f"high_freq_factor={self.high_freq_factor} is not above low_freq_factor")
        return self


class Model(Settings):
    """A decoder-only transformer of the Llama/Qwen family; a preset's name stands for its sizes."""

    d_model: int = Field(128, ge=8, le=1 << 17, description="Residual width.")
    n_layers: int = Field(4, ge=1, le=1 << 12, description="Blocks.")
    n_heads: int = Field(4, ge=1, le=1 << 12, description="Query heads.")
    n_kv_heads: int | None = Field(None, ge=1, le=1 << 12, description="Key/value heads (null: as many as n_heads).")
    head_dim: int | None = Field(None, ge=2, le=1 << 14, description="Width of a head (null: d_model / n_heads).")
    d_ff: int | None = Field(
        None, ge=8, le=1 << 20, description="SwiGLU width (null: 8/3 d_model, up to a multiple of 16)."
    )
    qk_norm: bool = Field(True, description="RMS-normalise queries and keys (Qwen3).")
    tied_embeddings: bool = Field(False, description="Output head shares the embedding.")
    attention_bias: Literal["qkv", "all"] | None = Field(
        None, description="Biases of attention; qkv: queries, keys, values (Qwen2); all: the output too (null: none)."
    )
    rope_theta: float = Field(10_000.0, gt=0, description="RoPE base.")
    rope_scaling: RopeScaling | None = None
    attention_cap: float | None = Field(
        None, gt=0, description="Soft cap c of attention scores, c · tanh(score / c), as in Gemma 2 (null: none)."
    )
    logit_cap: float | None = Field(None, gt=0, description="Soft cap of the logits over the vocabulary (null: none).")
    norm_eps: float = Field(1e-6, gt=0, description="Added to the mean square in every RMSNorm.")

    @model_validator(mode="before")
    @classmethod
    def _preset(cls, value: Any) -> Any:
        return _expanded(value)

    @model_validator(mode="after")
    def _shapes_fit(self) -> Model:
        if self.head_dim is None and self.d_model % self.n_heads:
            raise ValueError(f"n_heads={self.n_heads} does not divide d_model={self.d_model}; give head_dim")
        if self.n_heads % self.kv_heads:
            raise ValueError(f"n_kv_heads={self.kv_heads} does not divide n_heads={self.n_heads}")
        if self.width_of_head % 2:
            raise ValueError(f"head_dim={self.width_of_head} is odd; RoPE rotates pairs")
        return self

    @model_serializer(mode="wrap")
    def _without_absent_keys(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """A model without them is what it was before there were such keys: records and runs of then go on."""
        return {key: value for key, value in dump(self).items() if value is not None or key not in _YOUNGER}

    @property
    def kv_heads(self) -> int:
        return self.n_kv_heads or self.n_heads

    @property
    def width_of_head(self) -> int:
        return self.head_dim or self.d_model // self.n_heads

    @property
    def width_of_ffn(self) -> int:
        return self.d_ff or -(-8 * self.d_model // 3 // 16) * 16


_YOUNGER = ("attention_bias", "rope_scaling")


def _expanded(model: object) -> object:
    """The settings that a preset's name, alone or beside other keys, stands for; anything else as it is.

    Raises:
        ValueError: no such preset.
    """
    name = model if isinstance(model, str) else model.get("preset") if isinstance(model, dict) else None
    if name is None:
        return model
    if not isinstance(name, str) or name not in PRESETS:
        raise ValueError(f"no preset '{name}'. {did_you_mean(str(name), PRESETS)}")
    own = {key: value for key, value in model.items() if key != "preset"} if isinstance(model, dict) else {}
    return PRESETS[name] | own
