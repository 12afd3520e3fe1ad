"""Peak memory of this process while a seed on disk becomes K experts: prints MB over the idle process.

python -m tests.train.memory FOLDER make|split K
"""

from __future__ import annotations

import sys
from pathlib import Path

import jax
import jax.numpy as jnp

from splitjax.train import Stack, checkpoint

LEAVES, SIZE = 12, 2_000_000
ONE_COPY_MB = 3 * LEAVES * SIZE * 4 / 1e6


def seed() -> Stack:
    def tree() -> dict:
        return {f"leaf{i}": jnp.full((1, SIZE), float(i)) for i in range(LEAVES)}

    counts = [jnp.zeros((1,), jnp.int32) for _ in range(2)]
    return Stack(tree(), tree(), tree(), jnp.zeros((1, 2), jnp.uint32), *counts, jnp.zeros((1,)))


def peak_mb() -> float:
    """Of this program's own memory: ru_maxrss would count that of the process which started it, too."""
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) * 1024 / 1e6


def main(folder: Path, what: str, k: int) -> None:
    if what == "make":
        checkpoint.save(folder, 0, seed(), {})
        return
    import tensorstore  # noqa: F401  part of the idle process

    jax.block_until_ready(jnp.ones(3) + 1)
    idle = peak_mb()
    stack, _ = checkpoint.restore(checkpoint.at(folder, 0), (0,) * k)
    jax.block_until_ready(stack)
    print(peak_mb() - idle)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]))
