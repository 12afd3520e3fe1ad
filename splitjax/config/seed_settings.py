"""A Hugging Face folder to start from: what it settles of a config, and what must not contradict it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ConfigDict, StrictStr

from .data_settings import Tokenizer
from .hf_shape import FILE, TOKENIZER, end_token_of, read_shape
from .model_settings import Model
from .paths import refuse_remote
from .settings import Count
from .sweep_settings import Sweep


@dataclass(frozen=True)
class SeedFrom:
    """A Hugging Face folder of Llama, Qwen2 or Qwen3 type.

    Attributes:
        path: the folder, relative to the working directory.
        tokens: tokens that its weights were trained on; None: unknown.
    """

    # Strict would ask for an instance where a config has a mapping.
    __pydantic_config__ = ConfigDict(extra="forbid", strict=False)

    path: StrictStr
    tokens: Count | None = None


def filled_in(values: dict[str, Any]) -> dict[str, Any]:
    """A config as it was given, with what its seed's folder settles: model, sizes of the sweep, tokenizer.

    Raises:
        UserError: no such folder, or a model that cannot be read.
        ValueError: the learning rate is left to a default that was tuned for other weights.
    """
    seed = values.get("seed_from")
    path = seed.get("path") if isinstance(seed, dict) else getattr(seed, "path", None)
    if not isinstance(path, str):
        return values
    refuse_remote(path, "seed_from.path")
    values = dict(values)
    if (Path(path) / FILE).exists() or "model" not in values:  # a run that began does not need the folder for this
        values.setdefault("model", read_shape(Path(path))[0])
    sweep, data, train = values.get("sweep"), values.get("data"), values.get("train")
    if isinstance(sweep, dict) and not {"models", "list"} & sweep.keys():
        values["sweep"] = sweep | {"models": values["model"]}
    tokenizer = data.get("tokenizer", {}) if isinstance(data, dict) else None
    if isinstance(data, dict) and isinstance(tokenizer, dict):
        filled: dict[str, Any] = {"type": "huggingface", "path": str(Path(path) / TOKENIZER)}
        if (Path(path) / TOKENIZER).exists():
            filled["end_token"] = end_token_of(Path(path))
        values["data"] = data | {"tokenizer": filled | tokenizer}
    if train is None or (isinstance(train, dict) and "learning_rate" not in train):
        raise ValueError("train.learning_rate: a seed from a folder needs one; the default is tuned for fresh weights")
    return values


def check(seed: SeedFrom, model: Model, tokenizer: Tokenizer, sweep: Sweep | None) -> None:
    """Refuse settings that contradict the folder.

    Raises:
        UserError: its model cannot be read.
        ValueError: names the key.
    """
    if (Path(seed.path) / FILE).exists() and read_shape(Path(seed.path))[0] != model:
        raise ValueError(f"model: is not what {seed.path}/{FILE} says; leave it out")
    if tokenizer.type != "huggingface" or Path(tokenizer.path or "") != Path(seed.path) / TOKENIZER:
        raise ValueError(f"data.tokenizer: must be {seed.path}/{TOKENIZER} of type huggingface; leave it out")
    if sweep is not None and any(size != model for size in _sizes(sweep)):
        raise ValueError("sweep.models: a seed from a folder has one size; leave it out")


def _sizes(sweep: Sweep) -> list[Model]:
    return [*sweep.models, *(size for inner in sweep.list for size in _sizes(inner))]
