"""`--on local` under `train.placement: separate`: each expert is a job of its own, and a crash is its own too."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from . import shell
from .quoting import Raw
from .request import RESTART_CODES, Request
from .restarts import Restarts
from .supervisor import Process, supervise

_EXPERT = re.compile(r"--expert (\d+)$", re.MULTILINE)


def script(request: Request) -> str:
    """The same as bash, all experts at once."""
    train, one = shell.line(request.command("train")), shell.line(request.command("train", "--expert", Raw("$k")))
    return "\n".join([
        *(shell.line(command) for command in before_split(request)),
        f"for k in $({train} | sed -n 's/.*--expert \\([0-9]*\\)$/\\1/p'); do",
        f"    {one} &",
        "done",
        "wait",
        shell.line(request.command("run")),
    ])


def run(request: Request, shares: Callable[[int], Sequence[dict[str, str]]]) -> int:
    """Everything up to the split, then the experts, then what joins them and goes on.

    Args:
        shares: for so many experts the environments of the jobs that run at once, each with its own devices.

    Returns:
        0, or the exit code of what failed; experts that came to their end stay so.
    """
    for command in before_split(request):
        if code := supervise([Process("", command)]).code:
            return code
    restarts = Restarts(request.config.folder, request.options.retries)
    while True:
        listed: list[str] = []
        if code := supervise([Process("", request.command("train"), answer=listed)]).code:
            return code
        left = [int(expert) for expert in _EXPERT.findall("".join(listed))]
        codes, told_to_stop = _train(request, left, shares(len(left)) if left else ())
        if told_to_stop is not None:
            return told_to_stop
        failed = [code for code in codes if code]
        if not failed:
            return supervise([Process("", request.command("run"))]).code
        lasting = [code for code in failed if code not in RESTART_CODES]
        if lasting or not restarts.again(failed[0]):
            return (lasting or failed)[0]


def before_split(request: Request) -> list[list[str]]:
    """The stages before the main run; without a sweep the split is given and `train` makes the plan."""
    stages = ["prepare", *(["sweep", "fit", "plan"] if request.config.sweep is not None else [])]
    return [request.command(stage) for stage in stages]


def _train(
    request: Request, experts: Sequence[int], shares: Sequence[dict[str, str]]
) -> tuple[list[int], int | None]:
    """Train experts, as many at a time as there are shares; a failure of one leaves the others alone.

    Returns:
        The exit code of each, and ours if we were told to stop.
    """
    codes: list[int] = []
    for first in range(0, len(experts), len(shares) or 1):
        wave = zip(experts[first : first + len(shares)], shares, strict=False)
        jobs = [Process(f"expert {k}", request.command("train", "--expert", str(k)), share) for k, share in wave]
        outcome = supervise(jobs, together=False)
        codes += outcome.codes
        if outcome.signal is not None:
            return codes, outcome.code
    return codes, None
