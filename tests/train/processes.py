"""One process of several: run by test_processes.py, and by hand to look at what it does.

python -m tests.train.processes PORT COUNT INDEX DEVICES FOLDER LOOP quick|long|slow|broken
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import jax

STEPS = {"quick": 12, "long": 80, "slow": 80, "broken": 24}


def run_name(count: int, devices: int, loop: str) -> str:
    return f"run-{count}x{devices}-{loop}"


def main(port: str, count: int, index: int, devices: int, folder: Path, loop: str, kind: str) -> int:
    jax.config.update("jax_platforms", "cpu")
    jax.config.update("jax_num_cpu_devices", devices)
    if count > 1:
        jax.distributed.initialize(f"127.0.0.1:{port}", count, index)
    from splitjax.parallel import make_mesh
    from splitjax.train import Interrupted, Phase, Trainer, checkpoint, run_phase, starts
    from splitjax.train.guards import rollback

    from .helpers import BREAKS, KEPT, STEP, Batches, Bigram, Brittle, FirstTokens, recipe

    rollback.AFTER = 2
    mesh = make_mesh(expert=count * devices) if count * devices > 1 else None
    broken = kind == "broken"
    model = Brittle() if broken else Bigram()
    trainer = Trainer(model, recipe(expert_loop=loop, keep_every=KEPT if broken else None), mesh)
    if mesh is None:
        checkpoint.save(folder / "seed", 0, trainer.init(0), {})
    phase = Phase(0, STEPS[kind] * STEP, save_at=(5 * STEP,) if kind == "quick" else ())
    begin = starts.split(trainer, checkpoint.at(folder / "seed", 0), 4)
    text = FirstTokens(4, BREAKS) if broken else Batches(4)
    wait = (lambda _: time.sleep(0.25)) if kind == "slow" else None
    try:
        run_phase(trainer, begin, text, phase, folder / run_name(count, devices, loop), on_step=wait)
    except Interrupted as stop:
        return stop.exit_code
    return 0


if __name__ == "__main__":
    port, count, index, devices, folder, loop, kind = sys.argv[1:]
    sys.exit(main(port, int(count), int(index), int(devices), Path(folder), loop, kind))
