"""Floor 9: the same run elsewhere: several processes here, Slurm, TPU VMs, GKE. One module a place, one protocol.

Each place renders a bash script; a dry run prints that very script. Enters: what a place calls things, and how jobs
start and end there. Does not enter: what a job does.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from splitjax.config import Config, load

from .gke import Gke
from .local import Local
from .request import Backend, Options, Request, check
from .slurm import Slurm
from .tpu_vm import TpuVm

BACKENDS: dict[str, Backend] = {each.name: each for each in (Local(), Slurm(), TpuVm(), Gke())}

__all__ = ["BACKENDS", "Options", "Request", "launch", "script_of"]


def launch(
    path: str,
    overrides: Sequence[str] = (),
    *,
    on: str,
    action: str = "start",
    config: Config | None = None,
    **options: Any,
) -> int:
    """Run a config elsewhere.

    Args:
        path: config file.
        overrides: `dotted.key=value`.
        on: `local`, `slurm`, `tpu-vm` or `gke`.
        action: `start`, `logs` or `delete`.
        config: what the two mean, where the caller has read them already.
        options: the fields of `Options`, such as `processes=4`.

    Returns:
        Exit code: of the run where it is local, else of handing it in.

    Raises:
        UserError: an option that the place does not take, or misses.
    """
    return BACKENDS[on].run(_request(path, overrides, on, action, config, options))


def script_of(
    path: str,
    overrides: Sequence[str] = (),
    *,
    on: str,
    action: str = "start",
    config: Config | None = None,
    **options: Any,
) -> str:
    """The bash script that `launch` would run, with nothing run. Takes and raises the same."""
    return BACKENDS[on].script(_request(path, overrides, on, action, config, options)) + "\n"


def _request(
    path: str, overrides: Sequence[str], on: str, action: str, config: Config | None, options: dict[str, Any]
) -> Request:
    meant = config or load(path, overrides)
    request = Request(path, tuple(overrides), meant, Options(**options), action)
    check(BACKENDS[on], request)
    return request
