"""`--on local`: several processes on this machine, one `jax.distributed` run."""

from __future__ import annotations

import math
import os
import shutil
import socket
import subprocess
from dataclasses import astuple
from functools import partial

from splitjax.config import UserError

from . import separate_jobs, shell
from .request import Request, xla_flags
from .restarts import Restarts
from .supervisor import Process, supervise


class Local:
    """Starts `--processes` of them, each with its share of the devices, and starts again what was preempted."""

    name = "local"
    takes = frozenset({"processes", "retries"})
    needs: frozenset[str] = frozenset()
    one_of: tuple[str, ...] = ()

    def script(self, request: Request) -> str:
        _only_start(request)
        if request.config.train.placement == "separate":
            _one_process(request)
            return separate_jobs.script(request)
        processes = self.processes(request, free_port())
        lines = [shell.line(each.command, each.environment) + " &" for each in processes]
        return "\n".join([*lines, "wait"])

    def run(self, request: Request) -> int:
        _only_start(request)
        if request.config.train.placement == "separate":
            _one_process(request)
            return separate_jobs.run(request, partial(expert_shares, request))
        restarts = Restarts(request.config.folder, request.options.retries)
        while True:
            outcome = supervise(self.processes(request, free_port()))
            if outcome.signal is not None or not restarts.again(outcome.code):
                return outcome.code

    def processes(self, request: Request, port: int) -> list[Process]:
        """The processes of one start.

        Args:
            port: of the coordinator.
        """
        count = request.options.processes
        shares = device_shares(request, count)
        command = request.command("run")
        if count == 1:
            return [Process("0", command, shares[0])]
        cluster = {"SPLITJAX_COORDINATOR": f"127.0.0.1:{port}", "SPLITJAX_PROCESSES": str(count)}
        return [
            Process(str(rank), command, {**cluster, "SPLITJAX_PROCESS": str(rank), **share})
            for rank, share in enumerate(shares)
        ]


def device_shares(request: Request, count: int) -> list[dict[str, str]]:
    """For each process the variables that show it its own devices: GPUs where there are any, else virtual CPU devices.

    Raises:
        UserError: the devices cannot be shared out evenly.
    """
    gpus = visible_gpus()
    if gpus:
        if len(gpus) % count:
            raise UserError(f"{len(gpus)} GPUs cannot be shared by {count} processes", mend="Pick a divisor.")
        each = len(gpus) // count
        flags = gpu_flags(request)
        return [flags | {"CUDA_VISIBLE_DEVICES": ",".join(gpus[each * k : each * (k + 1)])} for k in range(count)]
    mesh = request.config.train.mesh
    devices = math.prod(astuple(mesh)) if mesh else count
    if devices % count:
        raise UserError(f"a mesh of {devices} devices cannot be shared by {count} processes", mend="Pick a divisor.")
    return [{"JAX_NUM_CPU_DEVICES": str(devices // count)}] * count


def expert_shares(request: Request, experts: int) -> list[dict[str, str]]:
    """The environments of experts that train at once: at most one expert a GPU, all GPUs shared out."""
    gpus = visible_gpus()
    if not gpus:
        return device_shares(request, 1) * experts
    at_once = min(experts, len(gpus))
    each = len(gpus) // at_once
    flags = gpu_flags(request)
    return [flags | {"CUDA_VISIBLE_DEVICES": ",".join(gpus[each * k : each * (k + 1)])} for k in range(at_once)]


def gpu_flags(request: Request) -> dict[str, str]:
    """XLA's flags for GPUs; those that the user has set come after ours, since XLA takes the last."""
    ours = xla_flags(request, "gpu")
    return {name: f"{value} {os.environ.get(name, '')}".strip() for name, value in ours.items()}


def visible_gpus() -> list[str]:
    """Ids of the GPUs that a process started here would see."""
    if os.environ.get("JAX_PLATFORMS") == "cpu":
        return []
    if "CUDA_VISIBLE_DEVICES" in os.environ:
        return [each for each in os.environ["CUDA_VISIBLE_DEVICES"].split(",") if each]
    if shutil.which("nvidia-smi") is None:
        return []
    listed = subprocess.run(["nvidia-smi", "--list-gpus"], capture_output=True, text=True)
    return [str(index) for index in range(len(listed.stdout.splitlines()))] if listed.returncode == 0 else []


def free_port() -> int:
    """A port on 127.0.0.1 that nobody listens on just now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _one_process(request: Request) -> None:
    if request.options.processes > 1:
        raise UserError("--processes means nothing with train.placement=separate: each expert is a job of its own")


def _only_start(request: Request) -> None:
    if request.action != "start":
        raise UserError(f"--{request.action} is for jobs elsewhere", mend="A local run is in front of you: Ctrl-C.")
