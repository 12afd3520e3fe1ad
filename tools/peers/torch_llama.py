"""Hugging Face's Llama under PyTorch: SDPA attention, fused AdamW, eager or compiled."""

from __future__ import annotations

import time
from typing import Any

import numpy as np


def measure(shape: dict[str, int], precision: str, steps: int, *, compiled: bool) -> float:
    """Seconds of a training step, the best of `steps`."""
    import torch

    device = "cuda" if torch.cuda.is_available() else "cpu"
    model = _llama(shape).to(device)
    if compiled:
        model = torch.compile(model)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, betas=(0.9, 0.98), fused=True)
    size = (shape["batch"], shape["seq"] + 1)
    tokens = torch.from_numpy(np.random.default_rng(0).integers(0, shape["vocab"], size)).to(device)
    times = []
    for _ in range(steps + 2):
        start = time.perf_counter()
        loss = _step(model, optimizer, tokens, device, precision)
        times.append(time.perf_counter() - start)
    assert np.isfinite(loss)
    return min(times[2:])


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


def _step(model: Any, optimizer: Any, tokens: Any, device: str, precision: str) -> float:
    import torch

    with torch.autocast(device, dtype=torch.bfloat16, enabled=precision == "bfloat16"):
        logits = model(input_ids=tokens[:, :-1]).logits
    loss = torch.nn.functional.cross_entropy(logits.float().flatten(0, 1), tokens[:, 1:].flatten())
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    return float(loss.detach())  # waits for the device
