#!/usr/bin/env python3
"""Bytes that the element-wise work of a layer reads and writes on an H100, counted on its compiled program: no GPU.

    pip install jax-cuda13-plugin jax-cuda13-pjrt nvidia-cuda-nvcc nvidia-nvvm   # of the version of jax, without extras
    python tools/bench_passes.py [--model 1.3B] [--remat none,dots_no_batch] [--qk-norm] [--experts 1] [--list]

The training steps of models of 2 and 3 layers are compiled for the card; their difference is a layer. An array counts
where its number of elements is a multiple of 31, a factor of the window's length and of no width: so weights, their
gradients and the update are left out. A kernel reads each operand and writes each result once; slices count as such.

Attention is an opaque call with the operands of cuDNN's (which XLA cannot choose without a card), and products go to
cuBLAS, as on a card where it beats Triton. Compiling ends with the program: XLA then misses the opaque call and stops.
"""

from __future__ import annotations

import argparse
import os
import re
import tempfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import splitjax  # noqa: F401 # isort: skip  # before jax, which would look for a TPU
import jax
import jax.numpy as jnp
from jax import Array

from splitjax.config import Model, Train, UserError
from splitjax.model import LanguageModel, language_model
from splitjax.model.kernels import calls
from splitjax.parallel import Program, make_mesh
from splitjax.parallel.hlo import Instruction, array_elements
from splitjax.parallel.moved import kernels
from splitjax.train import Trainer

PRIME, LENGTH, VOCABULARY = 31, 31 * 64, 32768
FLAGS = {"xla_gpu_enable_triton_gemm": False, "xla_gpu_autotune_level": 0, "xla_dump_hlo_as_text": True}
H100 = """
gpu_device_info {
  threads_per_block_limit: 1024 threads_per_warp: 32 shared_memory_per_block: 49152 shared_memory_per_core: 233472
  threads_per_core_limit: 2048 core_count: 132 fpus_per_core: 128 block_dim_limit_x: 2147483647 block_dim_limit_y: 65535
  block_dim_limit_z: 65535 memory_bandwidth: 3352320000000 l2_cache_size: 52428800 clock_rate_ghz: 1.98
  device_memory_size: 84942979072 shared_memory_per_block_optin: 232448 cuda_compute_capability { major: 9 }
  registers_per_core_limit: 65536 registers_per_block_limit: 65536
}
platform_name: "CUDA" dnn_version_info { major: 9 minor: 10 } runtime_version { major: 13 }
device_description_str: "NVIDIA H100 80GB HBM3"
"""


@dataclass(frozen=True)
class Kernel:
    """A kernel of a step.

    Attributes:
        kind: what it counts as.
        tokens: bytes of arrays with an entry for every token.
    """

    kind: str
    tokens: float
    name: str
    result: str


def opaque_attention(q_BSHX: Array, k_BSNX: Array, v_BSNX: Array, _: Array) -> Array:
    """Calls that read and write what cuDNN's attention does."""

    def like(*arrays: Array) -> tuple[jax.ShapeDtypeStruct, ...]:
        return tuple(jax.ShapeDtypeStruct(one.shape, one.dtype) for one in arrays)

    def forward(q: Array, k: Array, v: Array) -> tuple[Array, Any]:
        sums = jax.ShapeDtypeStruct((q.shape[0], q.shape[2], q.shape[1]), jnp.float32)
        call = jax.ffi.ffi_call("opaque_attention", (*like(q), sums), vmap_method="broadcast_all")
        out, sums = call(q, k, v)
        return out, (q, k, v, out, sums)

    def backward(saved: Any, dout: Array) -> tuple[Array, ...]:
        call = jax.ffi.ffi_call("opaque_attention_gradient", like(*saved[:3]), vmap_method="broadcast_all")
        return tuple(call(*saved, dout))

    attend = jax.custom_vjp(lambda q, k, v: forward(q, k, v)[0])
    attend.defvjp(forward, backward)
    return attend(q_BSHX, k_BSNX, v_BSNX)


def step_program(model: Model, train: Train, experts: int) -> Program:
    """The training step, optimised for the card."""
    from jax.experimental import topologies

    try:
        card = topologies.get_topology_desc(
            platform="cuda", topology_name="", topology="1x1x1", target_config=H100
        ).devices
    except Exception as error:  # jaxlib raises several unrelated types
        raise UserError(f"nothing compiles for CUDA here: {str(error).splitlines()[0]}",
                        mend="The top of this file says what to install.") from error
    trainer = Trainer(LanguageModel.under(train, model, VOCABULARY), train, make_mesh(devices=card))
    with trainer.placement.active(), tempfile.TemporaryDirectory() as folder:
        lowered = trainer._step.trace(*trainer.shapes(experts)).lower(lowering_platforms=("cuda",))
        try:
            lowered.compile(compiler_options={**FLAGS, "xla_dump_to": folder})
        except jax.errors.JaxRuntimeError as error:
            if "opaque_attention" not in str(error):
                raise
        dumps = Path(folder).glob("*after_optimizations.txt")
        return Program(max(dumps, key=lambda path: path.stat().st_size).read_text())


def kind_of(kernel: Instruction) -> str:
    target = re.search(r'custom_call_target="([^"]*)"', kernel.attributes)
    if target is None:
        return "fusions" if kernel.opcode == "fusion" else "copies" if kernel.opcode == "copy" else kernel.opcode
    for part, kind in (("cublas", "products"), ("attention", "attention"), ("triton", "own kernels")):
        if part in target[1]:
            return kind
    return target[1]


def counted(program: Program, tokens: int) -> Iterator[Kernel]:
    """Every kernel in order, with its bytes a token."""
    for kernel, times, arrays in kernels(program):
        size = sum(size for shape, size in arrays if array_elements(shape) % PRIME == 0 and not _table(shape))
        yield Kernel(kind_of(kernel), times * size / tokens, kernel.name, kernel.result)


def _table(shape: str) -> bool:
    """Whether it is a table of angles, one row a position."""
    return bool(re.fullmatch(rf"f32\[(?:{LENGTH},\d+|\d+,{LENGTH})\].*", shape))


def floor(model: Model) -> float:
    """Bytes a layer and token where each pass reads what it needs and writes what it makes once (remat none)."""
    heads = (model.n_heads + model.kv_heads) * model.width_of_head
    # Gate: 3 forward, 5 backward. Rotation: 2 each way, one more read under a norm. Two norms: 2 forward, 4 backward.
    return 2.0 * (8 * model.width_of_ffn + (5 if model.qk_norm else 4) * heads + 12 * model.d_model)


def layer(model: Model, train: Train, experts: int, listed: bool) -> Counter[str]:
    """Bytes a token of one layer, by kind."""
    tokens = experts * train.batch_size * LENGTH
    total: Counter[str] = Counter()
    for layers, sign in ((3, 1), (2, -1)):
        shape = model.model_copy(update={"n_layers": layers})
        for kernel in counted(step_program(shape, train, experts), tokens):
            total[kernel.kind] += sign * kernel.tokens
            if listed and sign > 0 and kernel.tokens > 100:
                print(f"{kernel.tokens:9.0f} {kernel.kind:12} {kernel.name:32} {kernel.result[:70]}")
    return total


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="1.3B")
    parser.add_argument("--remat", default="none")
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--experts", type=int, default=1)
    parser.add_argument("--qk-norm", action="store_true")
    parser.add_argument("--formulas", action="store_true", help="norms as XLA fuses them, without kernels")
    parser.add_argument("--list", action="store_true", help="every kernel of the model of 3 layers")
    args = parser.parse_args()
    os.environ["CUDA_VISIBLE_DEVICES"] = "-1"
    jax.config.update("jax_platforms", "cpu")  # where arrays lie; and no word about libraries that a card would need
    language_model.attention_of = lambda backend, cap: opaque_attention
    calls.runs = lambda: not args.formulas
    model = Model.model_validate(args.model).model_copy(update={"qk_norm": args.qk_norm, "tied_embeddings": True})
    if any(side % PRIME == 0 for side in (model.d_model, model.width_of_ffn, model.width_of_head)):
        raise UserError(f"a width of {args.model} is a multiple of {PRIME}", mend="Take another model.")
    for remat in args.remat.split(","):
        train = Train(
            seq_len=LENGTH, batch_size=args.batch, precision="bfloat16", attention="cudnn", layers="unroll",
            loss_blocks=1, remat=remat,
        )
        found = layer(model, train, args.experts, args.list)
        print(f"{args.experts} x {args.model}, batch {args.batch}, remat {remat}, qk_norm {model.qk_norm}:"
              " bytes a layer and token (in arrays of D bfloat16)")
        own = {kind: size for kind, size in found.items() if kind not in ("products", "attention") and size > 0.5}
        lines = {**own, "element-wise": sum(own.values()), **({"at least": floor(model)} if remat == "none" else {}),
                 "products": found["products"], "attention": found["attention"]}
        for kind, size in lines.items():
            print(f"  {kind:14} {size:9,.0f}  {size / 2 / model.d_model:6.1f}")


if __name__ == "__main__":
    try:
        main()
    except UserError as error:
        raise SystemExit(str(error)) from None
