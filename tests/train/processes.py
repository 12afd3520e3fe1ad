"""One process of several: run by test_processes.py, and by hand to look at what it does.

python -m tests.train.processes PORT COUNT INDEX DEVICES FOLDER LOOP
"""

from __future__ import annotations

import sys
from pathlib import Path

import jax


def main(port: str, count: int, index: int, devices: int, folder: Path, loop: str) -> None:
    jax.config.update("jax_platforms", "cpu")
    jax.config.update("jax_num_cpu_devices", devices)
    if count > 1:
        jax.distributed.initialize(f"127.0.0.1:{port}", count, index)
    from splitjax.parallel import make_mesh
    from splitjax.train import Phase, Trainer, checkpoint, run_phase, starts

    from .helpers import BATCH, STEP, Batches, Bigram, recipe

    mesh = make_mesh(expert=4, data=count * devices // 4) if count * devices > 1 else None
    trainer = Trainer(Bigram(), recipe(expert_loop=loop), mesh)
    seed = folder / "seed"
    one = Trainer(Bigram(), recipe(expert_loop=loop))
    if index == 0 and not seed.exists() and count == 1:
        checkpoint.save(seed, 0, one.init(0), {})
    experts, _ = trainer.placement.local(4, BATCH)
    phase = Phase(0, 12 * STEP, save_at=(5 * STEP,))
    begin = starts.split(trainer, checkpoint.at(seed, 0), 4)
    run_phase(trainer, begin, Batches(list(experts)), phase, folder / f"run-{count}x{devices}-{loop}")


if __name__ == "__main__":
    port, count, index, devices, folder, loop = sys.argv[1:]
    main(port, int(count), int(index), int(devices), Path(folder), loop)
