"""Whether what a stack holds can lie on the devices at all, asked before a byte of it is."""

from __future__ import annotations

import os

import jax

from splitjax.config import Model, Train, UserError
from splitjax.model import n_params_total

_STATE = 12
"""Bytes a parameter: weights and two moments (under Muon less), without gradients, activations and copies."""


def check(shape: Model, train: Train, vocab_size: int, experts: int, devices: int) -> None:
    """Refuse a stack whose state or whose batch of ids alone is more than all memory.

    Args:
        experts: of the stack.
        devices: that share it.

    Raises:
        UserError: tells both sizes.
    """
    has = _memory(devices)
    state = _STATE * n_params_total(shape, vocab_size) * experts
    batch = 4 * experts * train.batch_size * (train.seq_len + 1)
    for what, needs, mend in (
        (f"weights and moments of {experts} × {n_params_total(shape, vocab_size):,} parameters", state,
         "Choose a smaller model, train.placement=serial, or more devices."),
        (f"a batch of {experts} × {train.batch_size:,} windows", batch, "Lower train.batch_size or train.seq_len."),
    ):
        if needs > has:
            lacks = f"{what} take {needs / 1e9:,.0f} GB, there are {has / 1e9:,.0f} GB"
            raise UserError(f"not enough memory: {lacks}", where="train", mend=mend)


def _memory(devices: int) -> float:
    """Bytes of the devices; processors have the memory of their machine."""
    told = (jax.local_devices()[0].memory_stats() or {}).get("bytes_limit")
    if told:
        return float(told) * devices
    return float(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")) * jax.process_count()
