"""What a run is called on a cluster: a name that every place takes, and that no other run folder has.

Rules, read 2026-11-26: the webhook of kubernetes-sigs/jobset wants DNS-1035 labels (a lower-case letter, then letters,
digits and dashes, 63 at most) and asks the same of the jobs and pods that it makes, whose names have the group's, two
indices and five letters more. A queued resource of TPUs may be called [A-Za-z0-9_.~+%-]+, Slurm takes anything and
parts names at commas: a DNS-1035 label suits them all.
"""

from __future__ import annotations

import base64
import hashlib
import os
import re
from pathlib import PurePosixPath

from splitjax.config import UserError

LONGEST = 40
_LABEL = re.compile(r"[a-z]([-a-z0-9]{0,61}[a-z0-9])?")
_RANDOM = "xxxxx"
"""What Kubernetes adds to a pod's name."""


def whole(run_dir: str, bucket: str | None = None) -> str:
    """A run folder as nobody else's is called: a path of this machine, or in its bucket."""
    if bucket is not None and not PurePosixPath(run_dir).is_absolute():
        return f"gs://{bucket}/{os.path.normpath(run_dir)}"
    return os.path.abspath(run_dir)


def key(folder: str) -> str:
    """A label's value for this whole folder name: 40 hexadecimal digits."""
    return hashlib.sha256(folder.encode("utf-8", "surrogateescape")).hexdigest()[:40]


def name(folder: str) -> str:
    """The job's name: the folder's own as far as it fits, and 40 bits of a hash of the whole.

    The hash is always there: what differs in case, in dots or after the cut would else be one job.
    """
    mark = base64.b32encode(bytes.fromhex(key(folder)[:10])).decode("ascii").lower()
    words = re.sub(r"[^a-z0-9]+", "-", PurePosixPath(folder).name.lower()).strip("-")
    stem = words if words[:1].isalpha() else f"run-{words}".rstrip("-")
    return f"{stem[: LONGEST - len(mark) - 1].rstrip('-')}-{mark}"


def check(label: str, *suffixes: object) -> None:
    """Refuse a name that a cluster would refuse, with what the cluster itself adds to it.

    Raises:
        UserError: not a DNS-1035 label.
    """
    longest = "-".join(map(str, (label, *suffixes)))
    if not _LABEL.fullmatch(longest):
        raise UserError(f"'{longest}' is no name for a job: a letter, then letters, digits and dashes, 63 at most")


def check_pod(label: str, group: str, jobs: int, pods: int) -> None:
    """Refuse a JobSet's name where its last pod would have none.

    Raises:
        UserError: as `check`.
    """
    check(label, group, jobs - 1, pods - 1, _RANDOM)
