"""What a node pool of GKE has for a JobSet: slices of TPUs, or nodes with GPUs.

Sources, read 2026-11-27: the node labels of cloud.google.com/kubernetes-engine/docs/how-to/gpus and …/plan-tpus;
examples/simple/jobset-with-network.yaml of kubernetes-sigs/jobset (host names of pods).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from splitjax.config import UserError, did_you_mean

from .accelerators import LABELS
from .request import Options
from .slices import Slices

_PORT = 8476
"""Of process 0. A pod has all ports to itself."""
_INDEX = "metadata.annotations['batch.kubernetes.io/job-completion-index']"


@dataclass(frozen=True)
class Pool:
    """Jobs of pods, and where they may lie; a pod has all chips of its host and is one process.

    Attributes:
        platform: `tpu` or `gpu`.
        group: what a job is, the name of the JobSet's replicated job.
        jobs: of the JobSet.
        pods: of a job.
        labels: of the nodes.
        limits: resources of a pod.
        alone: a job has a node pool to itself.
    """

    platform: str
    group: str
    jobs: int
    pods: int
    labels: dict[str, str]
    limits: dict[str, int] = field(default_factory=dict)
    alone: bool = False

    @classmethod
    def of(cls, options: Options) -> Pool:
        """The pool that the options ask for.

        Raises:
            UserError: there is none, or an option that this kind would ignore.
        """
        return _gpu_nodes(options) if options.accelerator is not None else _tpu_slices(options)

    @property
    def several(self) -> bool:
        """Whether there is more than one process."""
        return self.jobs * self.pods > 1

    def cluster(self, name: str) -> list[dict[str, Any]]:
        """Variables by which the processes of the JobSet `name` find each other (see `parallel.join_cluster`).

        JAX finds those of TPUs. For GPUs it would ask the cluster for its pods, which takes rights: they are told.
        """
        if not self.several:
            return []
        if self.platform == "tpu":
            return [{"name": "SPLITJAX_DISTRIBUTED", "value": "auto"}]
        return [
            {"name": "SPLITJAX_COORDINATOR", "value": f"{name}-{self.group}-0-0.{name}:{_PORT}"},
            {"name": "SPLITJAX_PROCESSES", "value": str(self.pods)},
            {"name": "SPLITJAX_PROCESS", "valueFrom": {"fieldRef": {"fieldPath": _INDEX}}},
        ]


def _tpu_slices(options: Options) -> Pool:
    for name in ("accelerators", "nodes"):
        if name in options.given():
            raise UserError(f"--{name} means nothing with --topology", mend="It is for GPUs: --accelerator.")
    tpu = Slices.parse(options.topology or "")
    labels = {
        "cloud.google.com/gke-tpu-accelerator": tpu.label, "cloud.google.com/gke-tpu-topology": tpu.topology,
    }
    return Pool("tpu", "slice", tpu.count, tpu.hosts, labels, {"google.com/tpu": tpu.chips // tpu.hosts}, alone=True)


def _gpu_nodes(options: Options) -> Pool:
    name = options.accelerator or ""
    if name not in LABELS:
        raise UserError(f"no accelerator '{name}'", where="--accelerator", mend=did_you_mean(name, LABELS))
    labels = {"cloud.google.com/gke-accelerator": LABELS[name]}
    return Pool("gpu", "node", 1, options.nodes, labels, {"nvidia.com/gpu": options.accelerators})
