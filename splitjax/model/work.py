"""What a training step really does, by arithmetic alone: FLOPs with recomputation, memory traffic, memory held.

The useful count is `flops_per_token`; here is the rest that takes time and room. Everything is for one expert.
"""

from __future__ import annotations

from typing import Literal

from splitjax import config

Remat = Literal["none", "full", "dots", "dots_no_batch", "offload"]


def remat_of(train: config.Train) -> Remat:
    """What a recipe recomputes; left open and not settled, nothing."""
    return "none" if train.remat == "auto" else train.remat


def recomputed_flops_per_token(cfg: config.Model, seq_len: int, remat: Remat, attention: str) -> float:
    """FLOPs a token that a step computes a second time.

    A block computed again needs all products but its last, whose result only the next block reads. Kernels save
    their output only where a block is not computed again; splash attention also computes scores and their gradient
    again in its two backward kernels: three products more. Masked halves are left out, as in `flops_per_token`.
    """
    product = 1.0 * cfg.n_heads * cfg.width_of_head * seq_len  # a product of attention a layer, halved
    again = {"splash": 3.0, "cudnn": 1.0}.get(attention, 0.0) * product
    if remat == "full":
        again += 2.0 * (layer_weights(cfg) - cfg.d_model * cfg.width_of_ffn) + 2.0 * product
    elif remat in ("dots_no_batch", "offload") or (remat == "dots" and attention != "xla"):
        again += 2.0 * product
    return cfg.n_layers * again


def traffic_per_token(cfg: config.Model, vocab_size: int, remat: Remat, width: int = 2) -> float:
    """HBM bytes a token that products and the element-wise work between them read and write.

    Counted is what a fusing compiler leaves: operands and results of every product; norms, rotations, the gate and
    the residual stream once each. Backward moves twice as much, a recomputed block once more.

    Args:
        width: bytes of an activation.
    """
    D, F = cfg.d_model, cfg.width_of_ffn
    H, N = cfg.n_heads * cfg.width_of_head, cfg.kv_heads * cfg.width_of_head
    products = (3 * D + H + 2 * N) + (H + D) + (2 * D + 2 * F) + (F + D)
    between = 4 * D + 2 * (H + N) + (2 * H + 2 * N) + 3 * F + 4 * D
    passes = {"full": 4.0, "dots_no_batch": 3.0, "dots": 3.0, "offload": 3.0, "none": 3.0}[remat]
    # Logits are float32 and chunked: written, read for the maximum and the sum, turned into a gradient, read twice.
    return width * passes * cfg.n_layers * (products + between) + vocab_size * (4 * 3 + 3 * width)


def traffic_per_step(weights: float, shards: int, width: int = 2, state: int = 12) -> float:
    """HBM bytes a step that do not grow with the batch.

    Args:
        weights: parameters that a device sees in a step, gathered: read in three products, their gradient written.
        shards: devices that share their optimiser state, read and written, and a float32 gradient read.
        state: bytes a parameter of it (`Train.bytes_of_state`).
    """
    return 4.0 * width * weights + (2.0 * state + 4.0) * weights / shards


def layer_weights(cfg: config.Model) -> int:
    """Weights of the matrices of one block."""
    D, X = cfg.d_model, cfg.width_of_head
    return 2 * D * X * (cfg.n_heads + cfg.kv_heads) + 3 * D * cfg.width_of_ffn


def layer_biases(cfg: config.Model) -> int:
    """Biases of one block; they take no product and next to no memory, so only parameters are counted with them."""
    if cfg.attention_bias is None:
        return 0
    return cfg.width_of_head * (cfg.n_heads + 2 * cfg.kv_heads) + (cfg.d_model if cfg.attention_bias == "all" else 0)


def memory_bytes(
    cfg: config.Model, vocab_size: int, *, tokens: float, remat: Remat, shards: int, tensor: int, width: int,
    bytes_of_state: int = 12, platform: str = "tpu",
) -> float:
    """Highest memory of a device in a step of one expert, bytes.

    Held throughout: the optimiser's state. In the backward pass also a copy of the weights in the type of
    the arithmetic, gradients, what each block saved, and the working set of one block with its gathered weights; in
    the loss instead the whole head, its gradient and both copies. The counts of saved arrays are those of compiled
    programs (v5e and v5p, 1.3B and 2.7B) and, for GPU, of what an H200 held (`planning.own_rows`).

    Args:
        tokens: of a device in a step.
        shards: devices that share the optimiser state.
        tensor: devices that share single matrices.
        width: bytes of an activation.
        bytes_of_state: a parameter's (`Train.bytes_of_state`).
        platform: whose compiler.
    """
    D, F = cfg.d_model, cfg.width_of_ffn / tensor
    H, N = cfg.n_heads * cfg.width_of_head / tensor, cfg.kv_heads * cfg.width_of_head / tensor
    layers, ends = cfg.n_layers * layer_weights(cfg), 2.0 * vocab_size * D
    state = float(bytes_of_state) * (layers + ends) / shards
    saved = {
        "full": D, "dots": 3 * D + 2 * H + 4 * N + 2 * F, "dots_no_batch": 3 * D + H + 2 * N + 2 * F, "offload": 0.0,
        "none": 8 * D + 2 * H + 2 * N + 3 * F,
    }[remat]
    kept = width * cfg.n_layers * tokens * saved
    block = width * tokens * 8 * (D + H + N + F) + 3.0 * width * layer_weights(cfg) / tensor
    copies, gradients = width * layers / shards, 4.0 * layers / shards
    # What blocks saved goes as gradients come: XLA for GPU gives them the same room.
    backward = copies + block + (max(kept, gradients) if platform == "gpu" else kept + gradients)
    loss = kept + width * layers / shards + vocab_size * D * (2 * 4.0 + 2 * width)
    return state + max(backward, loss)
