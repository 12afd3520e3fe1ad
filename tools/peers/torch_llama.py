"""Hugging Face's Llama under PyTorch: SDPA attention, fused AdamW, eager or compiled."""

from __future__ import annotations

import time
from typing import Any

import numpy as np

from .warm import until_settled


def measure(shape: dict[str, int], precision: str, steps: int, *, compiled: bool, together: int = 1) -> list[float]:
    """Seconds of a training step, `steps` of them in groups that are waited for as one; compiled and tuned before."""
    import torch
    from torch._dynamo.utils import counters

    device = "cuda" if torch.cuda.is_available() else "cpu"
    model = _llama(shape).to(device)
    if compiled:
        model = torch.compile(model)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, betas=(0.9, 0.98), fused=True)
    size = (shape["batch"], shape["seq"] + 1)
    tokens = torch.from_numpy(np.random.default_rng(0).integers(0, shape["vocab"], size)).to(device)

    def run(count: int) -> None:
        for _ in range(count):
            loss = _step(model, optimizer, tokens, device, precision)
        assert np.isfinite(float(loss))  # waits for the device

    until_settled(lambda: run(1), lambda: counters["stats"]["unique_graphs"])
    times = []
    for _ in range(max(steps // together, 1)):
        start = time.perf_counter()
        run(together)
        times.append((time.perf_counter() - start) / together)
    return times


def peak_bytes() -> int | None:
    """Memory of the card at its highest; None where the processor did the work."""
    import torch

    return int(torch.cuda.max_memory_allocated()) if torch.cuda.is_available() else None


def _llama(shape: dict[str, int]) -> Any:
    from transformers import LlamaConfig, LlamaForCausalLM

    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=shape["vocab"],
            hidden_size=shape["width"],
            intermediate_size=shape["ffn"],
            num_hidden_layers=shape["layers"],
            num_attention_heads=shape["heads"],
            max_position_embeddings=shape["seq"],
            tie_word_embeddings=True,
            use_cache=False,
            attn_implementation="sdpa",
        )
    )


def _step(model: Any, optimizer: Any, tokens: Any, device: str, precision: str) -> Any:
    import torch

    with torch.autocast(device, dtype=torch.bfloat16, enabled=precision == "bfloat16"):
        logits = model(input_ids=tokens[:, :-1]).logits
    loss = torch.nn.functional.cross_entropy(logits.float().flatten(0, 1), tokens[:, 1:].flatten())
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    return loss.detach()
