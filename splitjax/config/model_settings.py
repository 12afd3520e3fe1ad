"""Settings of the model's shape."""

from __future__ import annotations

from typing import Any

from pydantic import Field, model_validator

from .errors import did_you_mean
from .presets import PRESETS
from .settings import Settings


class Model(Settings):
    """A decoder-only transformer of the Llama/Qwen3 family; a preset's name stands for its sizes."""

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
    rope_theta: float = Field(10_000.0, gt=0, description="RoPE base.")
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

    @property
    def kv_heads(self) -> int:
        return self.n_kv_heads or self.n_heads

    @property
    def width_of_head(self) -> int:
        return self.head_dim or self.d_model // self.n_heads

    @property
    def width_of_ffn(self) -> int:
        return self.d_ff or -(-8 * self.d_model // 3 // 16) * 16


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
