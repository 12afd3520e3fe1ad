"""What a launch is asked for, and the small protocol that every back end follows."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Protocol

from splitjax.config import Config, UserError
from splitjax.config.processes import children
from splitjax.planning import flag_groups

from . import names
from .accelerators import LABELS
from .quoting import quote

RESTART_CODES = (143, 75, 137)
"""Exit codes after which the same command goes on: preempted, another process hung or was killed, or this one was."""


def _option(help: str, *, default: Any = None, metavar: str | None = None) -> Any:
    return field(default=default, metadata={"help": help, "metavar": metavar})


@dataclass(frozen=True)
class Options:
    """Everything that `splitjax launch` can be told; each back end names the ones it takes."""

    processes: int = _option("processes on each machine", default=1, metavar="N")
    nodes: int = _option("machines", default=1, metavar="N")
    retries: int = _option("starts after a preemption or a hang that bring no progress", default=10, metavar="N")
    parts: int = _option("jobs that share the sweep, before the run", default=1, metavar="N")
    sbatch: tuple[str, ...] = _option(
        "a further option of sbatch, e.g. --sbatch=--partition=gpu", default=(), metavar="OPTION"
    )
    topology: str | None = _option("TPU slices: v5p:4x4x4, or 2xv6e:8x8 for two", metavar="NAME")
    accelerator: str | None = _option(f"GPUs instead of TPUs: {', '.join(LABELS)}", metavar="NAME")
    accelerators: int = _option("GPUs of a node, all of them for its one process", default=8, metavar="N")
    on_demand: bool = _option("pay for chips that are not taken away (default: spot)", default=False)
    zone: str | None = _option("zone of the TPUs", metavar="ZONE")
    project: str | None = _option("Google Cloud project (default: gcloud's own)", metavar="ID")
    package: str | None = _option("what pip installs on the workers: a requirement, or a wheel here", metavar="SPEC")
    image: str | None = _option("container image with splitjax in it, see Dockerfile", metavar="NAME")
    bucket: str | None = _option("Cloud Storage bucket, mounted as the working folder", metavar="NAME")
    service_account: str | None = _option("Kubernetes service account that may use the bucket", metavar="NAME")
    env: tuple[str, ...] = _option(
        "a variable of this shell for the job, such as the key of a tracker; its value stands in no script", default=(),
        metavar="NAME",
    )

    def given(self) -> list[str]:
        """Names of the options that differ from their defaults."""
        return [each.name for each in fields(self) if getattr(self, each.name) != each.default]


@dataclass(frozen=True)
class Request:
    """One launch.

    Args:
        path: the config file (or run folder), as the user gave it.
        overrides: `dotted.key=value` after it.
        config: what the two mean.
        action: `start`, `logs` (follow what it prints) or `delete` (end it and free the machines).
    """

    path: str
    overrides: tuple[str, ...]
    config: Config
    options: Options = Options()
    action: str = "start"

    def command(self, *words: str, python: str = sys.executable, path: str | None = None) -> list[str]:
        """`python -P -m splitjax WORDS… CONFIG overrides…`, as a list."""
        verb, *rest = words
        path = path or (f"./{self.path}" if self.path.startswith("-") else self.path)
        return children.python(
            "-m", "splitjax", verb, path, *rest, *self.overrides, executable=python
        )

    @property
    def folder(self) -> str:
        """The run folder as nobody else's is called: a path here, or in its bucket."""
        return names.whole(self.config.folder, self.options.bucket)

    @property
    def name(self) -> str:
        """The job's name, of this run folder alone: a DNS-1035 label of at most 40."""
        return names.name(self.folder)


class Backend(Protocol):
    """A place to run: a bash script for each action, and a way to carry it out."""

    name: str
    takes: frozenset[str]
    """Options that mean something here; others are refused."""
    needs: frozenset[str]
    """Options that must be given for `start`."""
    one_of: tuple[str, ...]
    """Options of which one must be given, and no two."""

    def script(self, request: Request) -> str:
        """What would be run for `request.action`, as a bash script.

        Raises:
            UserError: the request does not fit this place.
        """
        ...

    def run(self, request: Request) -> int:
        """Carry it out. Returns an exit code."""
        ...


def xla_flags(request: Request, platform: str) -> dict[str, str]:
    """The variable that sets the groups of XLA flags which suit the recipe on `tpu` or `gpu`."""
    train = request.config.train
    data = train.mesh.data if train.mesh else 1
    chip = "v6e" if "v6e" in (request.options.topology or "") else ""
    groups = flag_groups.default_groups(platform, chip=chip, remat=train.remat, data=data)
    return flag_groups.environment(platform, groups)


def check(backend: Backend, request: Request) -> None:
    """Refuse options that this back end would ignore, or that it misses.

    Raises:
        UserError: names the option.
    """
    for name in request.options.given():
        if name not in backend.takes:
            raise UserError(f"--{dashed(name)} means nothing with --on {backend.name}")
    _check_words(request)
    for name in sorted(backend.needs):
        if getattr(request.options, name) is None:
            raise UserError(f"--on {backend.name} needs --{dashed(name)}", mend=f"It is: {described()[name]}.")
    _check_one_of(backend, request.options)
    for name in ("processes", "nodes", "parts", "accelerators"):
        if getattr(request.options, name) < 1:
            raise UserError(f"--{name} must be at least 1, not {getattr(request.options, name)}")
    if request.options.retries < 0:
        raise UserError(f"--retries must be at least 0, not {request.options.retries}")


def _check_one_of(backend: Backend, options: Options) -> None:
    """Refuse both, or none, of options that stand for each other.

    Raises:
        UserError: names them.
    """
    given = [f"--{dashed(name)}" for name in backend.one_of if getattr(options, name) is not None]
    if len(given) > 1:
        raise UserError(f"{' and '.join(given)} exclude each other", mend="Leave one of them out.")
    if backend.one_of and not given:
        wanted = " or ".join(f"--{dashed(name)}" for name in backend.one_of)
        told = "; ".join(f"--{dashed(name)}: {described()[name]}" for name in backend.one_of)
        raise UserError(f"--on {backend.name} needs {wanted}", mend=f"{told}.")


def _check_words(request: Request) -> None:
    """Refuse words that no script can hold, and variables that are not there.

    Raises:
        UserError: names the word.
    """
    values = (getattr(request.options, name) for name in request.options.given())
    words = [word for value in values for word in (value if isinstance(value, tuple) else (value,))]
    for word in (request.path, *request.overrides, *words):
        quote(str(word))
    for name in request.options.env:
        if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):
            raise UserError(f"'{name}' is no name of a variable", where="--env", mend="Give the name alone.")
        if "\n" in os.environ.get(name, "\n"):
            raise UserError(f"{name} is not set here, or holds several lines", where="--env", mend=f"export {name}=…")


def refuse_lost_run_dir(request: Request) -> None:
    """Refuse a run folder that would be lost with the machines, or that only one of them could see.

    Raises:
        UserError: neither a bucket nor an absolute run_dir.
    """
    if request.options.bucket is None and not Path(request.config.folder).is_absolute():
        raise UserError(
            f"run_dir {request.config.folder} would be lost with the machines",
            mend="Give --bucket, or an absolute run_dir on a file system that every worker mounts.",
        )


def dashed(name: str) -> str:
    return name.replace("_", "-")


def described() -> Mapping[str, str]:
    """Option name → what it is."""
    return {each.name: each.metadata["help"] for each in fields(Options)}
