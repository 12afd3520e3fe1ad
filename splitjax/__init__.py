"""Train one model on everything, or split it into domain experts, and when?

The command line as functions: `run`, `prepare`, `sweep`, `fit`, `plan`, `report`, `launch`. They are imported on first
use, so that ``import splitjax`` is instant. `splitjax.train` and `splitjax.evaluate` are rooms; the stages of those
names are `splitjax.pipeline.train` and `splitjax.pipeline.evaluate`.
"""

from __future__ import annotations

from typing import Any

__version__ = "0.1.0"

_HOME = {
    "fit": "splitjax.law",
    "plan": "splitjax.law",
    "Table": "splitjax.law",
    "load": "splitjax.config",
    "run": "splitjax.pipeline",
    "prepare": "splitjax.pipeline",
    "sweep": "splitjax.pipeline",
    "report": "splitjax.pipeline",
    "launch": "splitjax.pipeline.launch",
}
__all__ = sorted([*_HOME, "__version__"])


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'splitjax' has no attribute '{name}'")
    import importlib

    return getattr(importlib.import_module(_HOME[name]), name)
