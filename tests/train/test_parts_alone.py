"""Parts of training asked alone, with stand-ins for what lies around them."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from tensorstore import open as open_store

from splitjax.config import UserError
from splitjax.train import Trainer, store
from splitjax.train.loop import Run


@pytest.mark.parametrize(("platform", "mesh", "form"), [
    ("cpu", None, "dispatch"), ("cpu", "a mesh", "scan"), ("gpu", None, "vmap"), ("tpu", "a mesh", "vmap"),
])
def test_experts_are_stepped_through_as_their_devices_like(platform: str, mesh: Any, form: str) -> None:
    def asked(loop: str, groups: int = 1) -> str:
        here: Any = SimpleNamespace(
            train=SimpleNamespace(expert_loop=loop),
            placement=SimpleNamespace(platform=platform, mesh=mesh, expert_groups=groups),
        )
        return Trainer.loop_form.fget(here)  # type: ignore[attr-defined, no-any-return]

    assert asked("auto") == form
    assert asked("scan") == "scan"
    assert asked("dispatch") == "dispatch"
    with pytest.raises(UserError, match="experts lie on 3 groups of devices"):
        asked("dispatch", 3)


def test_a_leaf_of_one_expert_is_read_alone(tmp_path: Path) -> None:
    values = np.arange(24, dtype=np.float32).reshape(4, 3, 2)
    made = open_store({"driver": "zarr", "kvstore": {"driver": "file", "path": str(tmp_path / "params.w")}},
                      create=True, dtype="float32", shape=list(values.shape)).result()
    made.write(values).result()
    assert store.read_row((tmp_path, 2), "params.w").tolist() == values[2].tolist()


def going_back(skipped: list[int], marks: dict[int, list[int]], put_back: dict[int, int | None], stops: list[int],
               lanes: tuple[int, ...]) -> tuple[list[Any], Any]:
    """`_go_back` at 80 tokens, of experts in these lanes; what was asked and written."""
    heard: list[Any] = []
    loop: Any = SimpleNamespace(
        lanes=SimpleNamespace(experts=lanes), tokens=80, stops_K=stops, experts=len(stops), meta={"lineage": None},
        folder="phases/x", writer=SimpleNamespace(wait=lambda: None), dog=SimpleNamespace(beat=lambda: None),
        trainer=SimpleNamespace(placement=SimpleNamespace(fetch=lambda array: array)),
        _put_back=lambda expert, marks: put_back[expert],
    )
    rollback: Any = SimpleNamespace(
        look=lambda tokens, going: heard.append(("look", tokens, going)) or marks,
        went=lambda expert, mark: heard.append(("went", expert, mark)),
    )
    log: Any = SimpleNamespace(write=lambda row: heard.append(("log", row["experts"], row["to"])))
    Run._go_back(loop, rollback, SimpleNamespace(skipped_K=np.array(skipped)), log)  # type: ignore[arg-type]
    return heard, loop.meta["lineage"]


def test_experts_that_skip_go_back_each_to_its_own_checkpoint() -> None:
    """Lanes hold experts 3, 0 and 2; of these 0 has stopped. 3 goes back to 40, 2 finds nothing."""
    heard, lineage = going_back([5, 6, 7], {3: [60, 40], 2: [60]}, {3: 40, 2: None}, [80, 99, 200, 99], (3, 0, 2))
    assert heard == [("look", 80, {3: 5, 2: 7}), ("log", [3], 40), ("went", 3, 40), ("log", [2], None)]
    assert lineage == {"rollbacks": [{"expert": 3, "at": 80, "to": 40}]}


def test_a_model_alone_that_has_nowhere_to_go_back_to_ends() -> None:
    with pytest.raises(UserError, match="phases/x: every step is skipped, and no older checkpoint is left"):
        going_back([4], {0: [40]}, {0: None}, [200], (0,))
