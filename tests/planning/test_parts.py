"""A batch in parts: what is planned for is what is on the devices at once."""

from __future__ import annotations

from pathlib import Path

import pytest

from splitjax.config import UserError, load
from splitjax.parallel import has_compiler
from splitjax.planning import compiled_step
from splitjax.runs.devices import Devices

CONFIG = Path(__file__).parents[2] / "configs" / "tpu" / "2.7B_x8_v5p.yaml"
MESH = {"expert": 8, "data": 1, "fsdp": 8, "tensor": 1}


def planned(parts: int) -> compiled_step.Compiled:
    config = load(CONFIG, ["train.mesh=null", "train.batch_size=32", f"train.microbatches={parts}"])
    return compiled_step.compile_step(config, "v5p:4x4x4", experts=8, mesh=MESH, analytic=True)


def test_parts_take_less_memory_and_leave_no_chip_without_windows() -> None:
    whole, parts = planned(1), planned(4)
    assert parts.bytes_per_device < whole.bytes_per_device
    assert parts.flops == whole.flops
    with pytest.raises(UserError, match=r"4 windows at once for data 1 × fsdp 8"):
        planned(8)


@pytest.mark.parametrize(
    "analytic", [True, pytest.param(False, marks=pytest.mark.slow)], ids=["estimate", "compiled"]
)
def test_every_part_gathers_the_weights_and_sums_gradients_anew(analytic: bool) -> None:
    if not analytic and not has_compiler():
        pytest.skip("libtpu is not installed (pip install splitjax[tpu])")

    def sent(parts: int) -> float:
        model = "model={d_model: 256, n_layers: 2, n_heads: 2, d_ff: 512}"
        config = load(CONFIG, [model, "train.mesh=null", "train.seq_len=256", "train.batch_size=8",
                               f"train.microbatches={parts}", "data.tokenizer.vocab_size=512"])
        found = compiled_step.compile_step(config, "v5e:2x2", experts=1, mesh={"fsdp": 4}, analytic=analytic)
        return found.collectives["fsdp"].bytes

    assert sent(2) == pytest.approx(2 * sent(1), rel=0.05)


def test_devices_are_shared_out_by_the_part() -> None:
    config = load(CONFIG, ["train.mesh=null", "train.batch_size=32", "train.microbatches=4"])
    assert Devices.of(config, 8).windows == 8
