"""Train one model on everything, or split it into domain experts, and when?

The command line as functions: `run`, `prepare`, `sweep`, `fit`, `plan`, `predict`, `propose`, `report`, `generate`,
`export`, `compare`, `launch`; `open_run` gives what a run folder holds. They are imported on first use, so that
``import splitjax`` is instant. `splitjax.train` and `splitjax.evaluate` are rooms; the stages of those names are
`splitjax.stages.train` and `splitjax.stages.evaluate`.
"""

from __future__ import annotations

import glob
import os
import sys
from importlib.util import find_spec
from typing import Any

__version__ = "0.1.0"

_HOME = {
    "fit": "splitjax.law",
    "plan": "splitjax.law",
    "predict": "splitjax.law",
    "propose": "splitjax.law",
    "Table": "splitjax.law",
    "load": "splitjax.config",
    "run": "splitjax.stages",
    "prepare": "splitjax.stages",
    "sweep": "splitjax.stages",
    "compile_step": "splitjax.planning",
    "price": "splitjax.planning",
    "export": "splitjax.serving",
    "generate": "splitjax.serving",
    "open_run": "splitjax.stages",
    "compare": "splitjax.reporting",
    "report": "splitjax.stages",
    "launch": "splitjax.launching",
}
__all__ = sorted([*_HOME, "__version__"])


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'splitjax' has no attribute '{name}'")
    import importlib

    return getattr(importlib.import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return __all__


def accelerator_in_sight() -> bool:
    """Whether the system shows a device file of a TPU or GPU; asks neither JAX nor a driver."""
    files = ("/dev/accel[0-9]*", "/dev/vfio/[0-9]*", "/dev/nvidia[0-9]*", "/dev/kfd", "/dev/dxg")
    return any(map(glob.glob, files))


def _leave_absent_tpus_alone() -> None:
    """Keep JAX off libtpu where that is installed to compile for TPUs, but no accelerator is here.

    JAX would load it at the first use of a device: half a second and six lines of warnings, then the CPU anyway.
    What the user says in JAX_PLATFORMS stands; compiling for a TPU works all the same.
    """
    if {"JAX_PLATFORMS", "JAX_FORCE_TPU_INIT"} & os.environ.keys() or "jax" in sys.modules:
        return
    if find_spec("libtpu") is not None and not accelerator_in_sight():
        os.environ["JAX_PLATFORMS"] = "cpu"


_leave_absent_tpus_alone()
