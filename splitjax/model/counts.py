"""Parameter and FLOP counts, by arithmetic alone."""

from __future__ import annotations

from splitjax import config

from .work import layer_biases, layer_weights


def n_params(cfg: config.Model) -> int:
    """Parameters without embedding and output head: the N of the law."""
    norms = 2 * cfg.d_model + (2 * cfg.width_of_head if cfg.qk_norm else 0)
    return cfg.n_layers * (layer_weights(cfg) + layer_biases(cfg) + norms) + cfg.d_model


def n_params_total(cfg: config.Model, vocab_size: int) -> int:
    """All parameters; a tied head is the embedding and counts once."""
    return n_params(cfg) + vocab_size * cfg.d_model * (1 if cfg.tied_embeddings else 2)


def flops_per_token(cfg: config.Model, vocab_size: int, seq_len: int) -> float:
    """Training FLOPs a token: 6 a matmul weight (head included, lookup not) plus causal attention, halved.

    Attention: two products of S·X a head and token forward, twice that backward, half of it masked away:
    6 · L · H · X · S. Recomputation (remat) is not counted, so that MFU measures useful work.
    """
    weights = cfg.n_layers * layer_weights(cfg) + vocab_size * cfg.d_model
    return 6.0 * weights + 6.0 * cfg.n_layers * cfg.n_heads * cfg.width_of_head * seq_len


def state_bytes(cfg: config.Model, train: config.Train, vocab_size: int, models: int) -> int:
    """Of the training state of so many models: weights and two moments (under Muon less)."""
    return train.bytes_of_state * n_params_total(cfg, vocab_size) * models
