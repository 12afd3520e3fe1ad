"""`--on slurm`: jobs that put themselves back into the queue when preempted or out of time."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from splitjax.config import UserError
from splitjax.config.processes import children

from . import shell
from .quoting import Raw, quote
from .request import RESTART_CODES, Request, xla_flags
from .restarts import made_in_bash, too_often

_SECONDS_TO_SAVE = 300
_SECONDS_FOR_PEERS = 60
"""The others look for up to 20 s who is silent, say it, and leave."""

# A rank's wrapper. The trap keeps bash alive through SIGTERM until the rank has saved. SLURM_LOCALID would make JAX
# see a single device of the node. A rank that ends badly waits before srun, told so, ends the others: they may be in
# the middle of the same save.
_RANK = (
    "trap : TERM; SPLITJAX_PROCESS=$SLURM_PROCID env -u SLURM_LOCALID \"$@\"; code=$?; "
    f'[ $code = 0 ] || sleep {_SECONDS_FOR_PEERS}; exit $code'
)


class Slurm:
    """Renders `sbatch` scripts and hands them in; the checkout and the run folder lie on a shared file system."""

    name = "slurm"
    takes = frozenset({"nodes", "processes", "parts", "retries", "sbatch", "env"})
    needs: frozenset[str] = frozenset()
    one_of: tuple[str, ...] = ()

    def script(self, request: Request) -> str:
        for option in request.options.sbatch:
            if option.startswith(("--job-name", "-J")):
                raise UserError("the job's name is the run folder's: --logs and --delete go by it",
                                where=f"--sbatch={option}", mend="Leave it out.")
        if request.action == "delete":
            return shell.line(["scancel", f"--name={request.name}", "--me"])
        logs = str(_logs(request))
        if request.action == "logs":
            return f"tail -n 100 -F {quote(logs)}/slurm-*.log"
        jobs = _in_parts(request) if request.options.parts > 1 else [shell.here("sbatch", batch(request, "run"))]
        return "\n".join([shell.line(["mkdir", "-p", logs]), *jobs])

    def run(self, request: Request) -> int:
        needs = {"start": ["sbatch"], "logs": ["tail"], "delete": ["scancel"]}[request.action]
        return shell.run(self.script(request), needs)


def batch(request: Request, *words: str, alone: bool = False, settings: Sequence[str] = ()) -> str:
    """A batch script.

    Args:
        words: of the command: "run", or "sweep", "--part", ….
        alone: one process, whatever the request says of nodes.
        settings: further options of sbatch, before the user's.
    """
    options = request.options
    nodes, processes = (1, 1) if alone else (options.nodes, options.processes)
    lines = [
        f"--job-name={request.name}", f"--nodes={nodes}", f"--ntasks-per-node={processes}",
        f"--output={quote(str(_logs(request)), 'sbatch path')}/slurm-%j.log", "--open-mode=append", "--requeue",
        f"--signal=TERM@{_SECONDS_TO_SAVE}", *settings,
        *([f"--export={','.join(['ALL', *options.env])}"] if options.env else []),  # names: sbatch takes the values
        *(quote(option, "sbatch") for option in options.sbatch),
    ]
    several = nodes * processes > 1
    ranked = ["--kill-on-bad-exit=1", "bash", "-c", _RANK, "rank"] if several else []
    command = shell.line(["srun", *ranked, *request.command(*words)])
    return "\n".join([
        "#!/usr/bin/env bash",
        *(f"#SBATCH {line}" for line in lines),
        *(_CLUSTER if several else ()),
        *(f'[ -z "$(nvidia-smi -L 2>/dev/null)" ] || export {name}="{value} ${{{name}:-}}"'
          for name, value in xla_flags(request, "gpu").items()),
        made_in_bash(request),
        _count(request),
        "code=0",
        f"{command} || code=$?",
        f'case $code in {"|".join(map(str, RESTART_CODES))})  # saved, or to be taken up from the last save',
        *_again(request),
        "esac",
        "exit $code",
    ])


def _count(request: Request) -> str:
    """Bash that sets `count`, a file of this job: starts without progress, and the mark that the last one left."""
    path = f'{quote(str(_logs(request)))}/restarts-"$SLURM_JOB_ID"'
    return f"count={path}; [ -f \"$count\" ] || printf '0\\n%s\\n' \"$(made)\" >\"$count\""


def _again(request: Request) -> list[str]:
    """Back into the queue, unless so many starts have brought nothing."""
    most = request.options.retries
    return [
        '    { read -r tries; read -r before; } <"$count"',
        '    now=$(made)',
        '    if [ "$now" = "$before" ]; then tries=$((tries + 1)); else tries=0; fi',
        f"    if {too_often(most)}; then",
        f'        echo "splitjax: code $code, $tries times without progress: given up (--retries {most})" >&2',
        "    else",
        '        printf "%s\\n" "$tries" "$now" >"$count"',
        '        scontrol requeue "$SLURM_JOB_ID"',
        "    fi",
    ]


def _in_parts(request: Request) -> list[str]:
    """Three jobs, each after the one before: prepare, the sweep as an array, the run that gathers it and goes on.

    Raises:
        UserError: there is no sweep, or one that chooses its cells round by round.
    """
    if request.config.sweep is None:
        raise UserError("--parts shares out a sweep, and the config has none", where="sweep")
    if request.config.sweep.auto:
        raise UserError("a sweep that chooses its cells has no parts", where="--parts", mend="Leave it out.")
    parts = request.options.parts
    part = Raw(f'"$SLURM_ARRAY_TASK_ID"/{parts}')
    sweep = batch(request, "sweep", "--part", part, alone=True, settings=[f"--array=1-{parts}"])
    after = "sbatch --parsable --kill-on-invalid-dep=yes --dependency=afterok:"
    return [
        f"prepared=$({shell.here('sbatch --parsable', batch(request, 'prepare', alone=True))}\n)",
        f"swept=$({shell.here(after + '$prepared', sweep)}\n)",
        shell.here(after + "$swept", batch(request, "run")),
    ]


def _logs(request: Request) -> Path:
    return Path(request.config.folder) / "logs"


# The batch script runs on the first node, so a port that is free here is free for the coordinator.
_FREE_PORT = "import socket; s = socket.socket(); s.bind(('', 0)); print(s.getsockname()[1])"
_CLUSTER = (
    'first=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)',
    f"port=$({shell.line(children.python('-c', _FREE_PORT))})",
    "export SPLITJAX_PROCESSES=$SLURM_NTASKS SPLITJAX_COORDINATOR=$first:$port",
)
