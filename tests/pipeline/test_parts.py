"""A batch in parts: what is planned for is what is on the devices at once."""

from __future__ import annotations

from pathlib import Path

import pytest

from splitjax.config import UserError, load
from splitjax.pipeline import compiling
from splitjax.pipeline.devices import Devices

CONFIG = Path(__file__).parents[2] / "configs" / "tpu" / "2.7B_x8_v5p.yaml"
MESH = {"expert": 8, "data": 1, "fsdp": 8, "tensor": 1}


def planned(parts: int) -> compiling.Compiled:
    config = load(CONFIG, ["train.mesh=null", "train.batch_size=32", f"train.microbatches={parts}"])
    return compiling.compile_step(config, "v5p:4x4x4", experts=8, mesh=MESH, analytic=True)


def test_parts_take_less_memory_and_leave_no_chip_without_windows() -> None:
    whole, parts = planned(1), planned(4)
    assert parts.bytes_per_device < whole.bytes_per_device
    assert parts.flops == whole.flops
    with pytest.raises(UserError, match=r"4 windows at once for data 1 × fsdp 8"):
        planned(8)


def test_devices_are_shared_out_by_the_part() -> None:
    config = load(CONFIG, ["train.mesh=null", "train.batch_size=32", "train.microbatches=4"])
    assert Devices.of(config, 8).windows == 8
