"""`--on slurm`: one job on one or several nodes, put back into the queue when preempted or out of time."""

from __future__ import annotations

import shlex
from pathlib import Path

from . import shell
from .request import RESTART_CODES, Request

_SECONDS_TO_SAVE = 300
_SECONDS_FOR_PEERS = 15

# A rank's wrapper. The trap keeps bash alive through SIGTERM until the rank has saved. SLURM_LOCALID would make JAX
# see a single device of the node. A rank that ends badly waits before srun, told so, ends the others: they may be in
# the middle of the same save.
_RANK = (
    "trap : TERM; SPLITJAX_PROCESS=$SLURM_PROCID env -u SLURM_LOCALID \"$@\"; code=$?; "
    f'[ $code = 0 ] || sleep {_SECONDS_FOR_PEERS}; exit $code'
)


class Slurm:
    """Renders one `sbatch` script and hands it in; the checkout and the run folder lie on a shared file system."""

    name = "slurm"
    takes = frozenset({"nodes", "processes", "retries", "sbatch"})
    needs: frozenset[str] = frozenset()

    def script(self, request: Request) -> str:
        if request.action == "delete":
            return shell.line(["scancel", f"--name={request.name}", "--me"])
        logs = Path(request.config.folder) / "logs"
        if request.action == "logs":
            return f"tail -n 100 -F {shlex.quote(str(logs))}/slurm-*.log"
        return f"{shell.line(['mkdir', '-p', str(logs)])}\n{shell.here('sbatch', batch(request, logs))}"

    def run(self, request: Request) -> int:
        needs = {"start": ["sbatch"], "logs": ["tail"], "delete": ["scancel"]}[request.action]
        return shell.run(self.script(request), needs)


def batch(request: Request, logs: Path) -> str:
    """The batch script."""
    options = request.options
    settings = [
        f"--job-name={request.name}", f"--nodes={options.nodes}", f"--ntasks-per-node={options.processes}",
        f"--output={logs}/slurm-%j.log", "--open-mode=append", "--requeue", f"--signal=TERM@{_SECONDS_TO_SAVE}",
        *options.sbatch,
    ]  # fmt: skip
    several = options.nodes * options.processes > 1
    command = shell.line(["srun", "--kill-on-bad-exit=1", "bash", "-c", _RANK, "rank", *request.command("run")])
    return "\n".join([
        "#!/usr/bin/env bash",
        *(f"#SBATCH {setting}" for setting in settings),
        *(_CLUSTER if several else ()),
        "code=0",
        f"{command} || code=$?",
        f'case $code in {"|".join(map(str, RESTART_CODES))})  # saved, or to be taken up from the last save',
        f'    [ "${{SLURM_RESTART_COUNT:-0}}" -ge {options.retries} ] || scontrol requeue "$SLURM_JOB_ID"',
        "esac",
        "exit $code",
    ])  # fmt: skip


_CLUSTER = (
    "first=$(scontrol show hostnames \"$SLURM_JOB_NODELIST\" | head -n 1)",
    "export SPLITJAX_PROCESSES=$SLURM_NTASKS SPLITJAX_COORDINATOR=$first:$((20000 + SLURM_JOB_ID % 20000))",
)
