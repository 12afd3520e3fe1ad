"""A set as `export` writes it, of two experts as small as they go, for whoever forges its files."""

from __future__ import annotations

import json
from pathlib import Path

import jax
import numpy as np

from splitjax import config
from splitjax.config import Domains, write_record
from splitjax.data.clusterer import of_domains
from splitjax.data.tokenizing.fast_tokenizer import bytes_tokenizer
from splitjax.evaluate import SavedRouter, routers
from splitjax.model import LanguageModel, huggingface_config, to_huggingface
from splitjax.model.weights import write_weights
from splitjax.serving.export_record import FILE, FORMAT

SHAPE = config.Model(d_model=8, n_layers=1, n_heads=2)
NAMES = ("code", "prose")


def write_set(folder: Path, shard_bytes: int = 6_000) -> Path:
    """Two experts in files of several shards, and a centroid router."""
    tokenizer = bytes_tokenizer()
    for number, name in enumerate(NAMES):
        at = folder / name
        at.mkdir(parents=True)
        params = jax.tree.map(np.asarray, LanguageModel(SHAPE, 257).init(jax.random.key(number)))
        write_weights(at, to_huggingface(params).items(), "float32", shard_bytes)
        (at / "config.json").write_text(json.dumps(huggingface_config(SHAPE, 257, 32)))
        (at / "tokenizer.json").write_bytes(tokenizer.data)
        (at / "tokenizer_config.json").write_text(json.dumps({"bos_token": tokenizer.end_token}))
        (at / "generation_config.json").write_text(json.dumps({"eos_token_id": 0}))
    clusterer = of_domains([["if x then y"] * 3, ["a quiet house"] * 3], Domains(k=2), 0)
    router = routers.make("centroid", (1, 1), lambda: clusterer)
    SavedRouter(router, NAMES, 8, tokenizer.hash).save(folder)
    write_record(folder / FILE, {
        "format": FORMAT, "model": "planned", "dtype": "float32", "tokenizer": tokenizer.hash, "checkpoint": "x",
        "end_token": tokenizer.end_token, "end_id": 0, "seq_len": 32,
        "experts": [{"name": name, "folder": name} for name in NAMES],
    })
    return folder
