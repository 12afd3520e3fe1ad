"""`--on tpu-vm`: a queued resource of TPU VMs; the run is installed and started on every worker by ssh."""

from __future__ import annotations

import os
from pathlib import Path

from splitjax import __version__
from splitjax.config import UserError

from . import names, shell
from .quoting import quote
from .request import RESTART_CODES, Request, refuse_lost_run_dir, xla_flags
from .restarts import made_in_bash, too_often
from .slices import Slices

_QUEUED = ["gcloud", "compute", "tpus", "queued-resources"]
_EVERYWHERE = ("--node=all", "--worker=all")
_ABORTED = 134  # what JAX ends the peers of a dead rank with; each worker starts again for itself
_LOG = "splitjax.log"

_CREATE = """\
state() {{
    {describe} 2>/dev/null || true
}}
create() {{
    {create}
}}
case "$(state)" in
    "") create ;;
    FAILED | SUSPENDING | SUSPENDED)  # the chips were taken away, or never came
        {delete}
        create ;;
esac
until [ "$(state)" = ACTIVE ]; do
    case "$(state)" in FAILED | SUSPENDED) echo "splitjax: the request for TPUs failed" >&2; exit 1 ;; esac
    sleep 30
done"""

_START = """\
set -euo pipefail
cd "$HOME"
if [ -f splitjax.env ]; then  # values of --env: read once and not kept
    . ./splitjax.env
    rm splitjax.env
fi
python3 -m pip install --quiet --user uv
[ -d splitjax-venv ] || python3 -m uv venv --python 3.12 splitjax-venv
{install}
{mount}exec 9>"$HOME/splitjax.lock"  # held by what follows for as long as it runs
flock -n 9 || {{ echo "splitjax runs here already"; exit 0; }}
nohup bash -c {loop} >>"$HOME/{log}" 2>&1 </dev/null &"""

# cloud.google.com/storage/docs/cloud-storage-fuse/install, read 2026-11-24
_MOUNT = """\
if ! command -v gcsfuse >/dev/null; then
    curl -fsS https://packages.cloud.google.com/apt/doc/apt-key.gpg |
        sudo tee /usr/share/keyrings/cloud.google.asc >/dev/null
    echo "deb [signed-by=/usr/share/keyrings/cloud.google.asc] https://packages.cloud.google.com/apt" \\
        "gcsfuse-$(lsb_release -c -s) main" | sudo tee /etc/apt/sources.list.d/gcsfuse.list >/dev/null
    sudo apt-get -qq update
    sudo apt-get -qq install -y gcsfuse
fi
mkdir -p bucket
mountpoint -q bucket || gcsfuse --implicit-dirs {bucket} bucket
cd bucket
"""


class TpuVm:
    """Creates the queued resource if it is not there, waits for it, and starts the run on all workers."""

    name = "tpu-vm"
    takes = frozenset({"topology", "on_demand", "zone", "project", "package", "bucket", "retries", "env"})
    needs = frozenset({"topology", "zone"})
    one_of: tuple[str, ...] = ()

    def script(self, request: Request) -> str:
        refuse_lost_run_dir(request)
        if request.action == "delete":
            return self._delete(request)
        if request.action == "logs":
            return shell.line([*self._of("ssh", request), f"--command=tail -n 100 -F {_LOG}"])
        _refuse_what_workers_cannot_read(request)
        keys = '"$folder/splitjax.env" ' if request.options.env else ""
        created = _CREATE.format(
            describe=shell.line([*self._of("describe", request), "--format=value(state.state)"]),
            create=self._create(request), delete=self._delete(request),
        )
        files = [os.path.abspath(request.path), *([package] if (package := _package(request)).endswith(".whl") else [])]
        return "\n".join([
            created,
            "folder=$(mktemp -d)",
            "trap 'rm -r \"$folder\"' EXIT",
            shell.here('cat >"$folder/start.sh"', start_script(request)),
            *([_keys(request)] if request.options.env else []),
            f'{shell.line([*_QUEUED, "scp"])} "$folder/start.sh" {keys}'
            + shell.line([*files, f"{request.name}:", *self._place(request), *_EVERYWHERE]),
            shell.line([*self._of("ssh", request), *_EVERYWHERE, "--command=bash start.sh"]),
        ])

    def run(self, request: Request) -> int:
        return shell.run(self.script(request), ["gcloud"])

    def _create(self, request: Request) -> str:
        tpu = Slices.parse(request.options.topology or "")
        names.check(request.name, *([tpu.count - 1] if tpu.count > 1 else []))
        several = [f"--node-count={tpu.count}", f"--node-prefix={request.name}"]
        options = [
            *self._place(request), f"--accelerator-type={tpu.accelerator_type}", f"--runtime-version={tpu.runtime}",
            *(several if tpu.count > 1 else [f"--node-id={request.name}"]),
            *([] if request.options.on_demand else ["--spot"]),
        ]
        return shell.line([*_QUEUED, "create", request.name, *options])

    def _delete(self, request: Request) -> str:
        return shell.line([*self._of("delete", request), "--force", "--quiet"])

    def _of(self, verb: str, request: Request) -> list[str]:
        return [*_QUEUED, verb, request.name, *self._place(request)]

    def _place(self, request: Request) -> list[str]:
        project = request.options.project
        return [f"--zone={request.options.zone}", *([f"--project={project}"] if project else [])]


def _keys(request: Request) -> str:
    """Bash that writes the values of variables into a file for the workers; they stand in no script."""
    each = f"for name in {shell.line(request.options.env)}; do printf 'export %s=%q\\n' \"$name\" \"${{!name}}\"; done"
    return f'(umask 077; {each} >"$folder/splitjax.env")'


def start_script(request: Request) -> str:
    """What every worker runs: install, mount, then the run in the background, started again after a preemption."""
    package, bucket = _package(request), request.options.bucket
    if package.endswith(".whl"):
        package = f"./{Path(package).name}[tpu]"
    install = shell.line(["python3", "-m", "uv", "pip", "install", "--python", "splitjax-venv/bin/python", package])
    return _START.format(
        install=install, mount=_MOUNT.format(bucket=quote(bucket)) if bucket else "",
        loop=quote(_loop(request), "bash script"), log=_LOG,
    )


def _loop(request: Request) -> str:
    several, most = Slices.parse(request.options.topology or "").several_hosts, request.options.retries
    config = quote(Path(request.path).name)
    python, words = '"$HOME"/splitjax-venv/bin/python', shell.line(request.overrides)
    run = f'{python} -P -m splitjax run "$HOME"/{config} {words}'.rstrip()
    return "\n".join([
        *(["export SPLITJAX_DISTRIBUTED=auto"] if several else []),
        *(f"export {name}={quote(value)}" for name, value in xla_flags(request, "tpu").items()),
        made_in_bash(request),
        "tries=0",
        "while true; do",
        f"    before=$(made) code=0; {run} || code=$?",
        f"    case $code in {'|'.join(map(str, (*RESTART_CODES, _ABORTED)))}) ;; *) exit $code ;; esac",
        '    if [ "$(made)" = "$before" ]; then tries=$((tries + 1)); else tries=0; fi',
        f"    if {too_often(most)}; then",
        f'        echo "splitjax: code $code, $tries times without progress: given up (--retries {most})"; exit $code',
        "    fi",
        "done",
    ])


def _package(request: Request) -> str:
    return request.options.package or f"splitjax[tpu]=={__version__}"


def _refuse_what_workers_cannot_read(request: Request) -> None:
    if not Path(request.path).is_file():
        raise UserError("must be a config file, to be copied to the workers", where=request.path)
    package = _package(request)
    if package.endswith(".whl") and not Path(package).is_file():
        raise UserError("no such wheel", where=package, mend="Make it with: pip wheel --no-deps .")
