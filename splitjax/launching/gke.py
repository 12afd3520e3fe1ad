"""`--on gke`: a JobSet of TPU slices or GPU nodes, one pod a host, restarted as a whole after a preemption."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from splitjax.config import UserError

from . import names, shell
from .pools import Pool
from .quoting import quote
from .request import Request, refuse_lost_run_dir, xla_flags

_SECONDS_TO_SAVE = 120
_CONFIG_FOLDER = "/etc/splitjax"
_BUCKET_FOLDER = "/bucket"
_LABEL = "splitjax/run-dir"
"""On everything that a run folder started: it is deleted by this, not by its name."""
_MISTAKE = 2  # exit code of a mistake in the config: starting again would not mend it


class Gke:
    """Renders a JobSet with the config beside it and applies both."""

    name = "gke"
    takes = frozenset({
        "topology", "accelerator", "accelerators", "nodes", "on_demand", "image", "bucket", "service_account",
        "retries", "env",
    })
    needs = frozenset({"image"})
    one_of: tuple[str, ...] = ("topology", "accelerator")

    def script(self, request: Request) -> str:
        refuse_lost_run_dir(request)
        ours = f"--selector={_LABEL}={names.key(request.folder)}"
        if request.action == "delete":
            return shell.line(["kubectl", "delete", "jobset,configmap,secret", ours, "--ignore-not-found"])
        if request.action == "logs":
            first = f"jobset.sigs.k8s.io/jobset-name={request.name},jobset.sigs.k8s.io/job-index=0"
            labels = f"{first},batch.kubernetes.io/job-completion-index=0"
            return shell.line(["kubectl", "logs", "--follow", "--tail=100", f"--selector={labels}"])
        delete = shell.line(["kubectl", "delete", "jobset", ours, "--ignore-not-found"])
        state = ["kubectl", "get", "jobset", ours, "--output=jsonpath={.items[*].status.terminalState}"]
        text = "---\n".join(_yaml(part) for part in (config_map(request), job_set(request)))
        return "\n".join([
            *([_secret(request)] if request.options.env else []),
            f'if [ -n "$({shell.line(state)})" ]; then  # an ended one stands in the way of its name',
            f"    {delete}",
            "fi",
            shell.here("kubectl apply --filename=-", text),
        ])

    def run(self, request: Request) -> int:
        return shell.run(self.script(request), ["kubectl"])


def config_map(request: Request) -> dict[str, Any]:
    """The config file as it is, for the pods to mount.

    Raises:
        UserError: it is not a file.
    """
    path = Path(request.path)
    if not path.is_file():
        raise UserError("must be a config file, to be sent to the pods", where=request.path)
    return {
        "apiVersion": "v1", "kind": "ConfigMap", "metadata": _named(request),
        "data": {"config.yaml": path.read_text(encoding="utf-8")},
    }


def job_set(request: Request) -> dict[str, Any]:
    """The JobSet: a job a slice, or one of all GPU nodes; a pod a host."""
    pool = Pool.of(request.options)
    names.check_pod(request.name, pool.group, pool.jobs, pool.pods)
    job = {
        "parallelism": pool.pods, "completions": pool.pods, "completionMode": "Indexed", "backoffLimit": 0,
        "podFailurePolicy": {"rules": [
            {"action": "FailJob", "onExitCodes": {"containerName": "splitjax", "operator": "In", "values": [_MISTAKE]}},
        ]},
        "template": pod(request, pool),
    }
    alone = {"alpha.jobset.sigs.k8s.io/exclusive-topology": "cloud.google.com/gke-nodepool"}
    return {
        "apiVersion": "jobset.x-k8s.io/v1alpha2",
        "kind": "JobSet",
        "metadata": {**_named(request), **({"annotations": alone} if pool.alone else {})},
        "spec": {
            "failurePolicy": {
                "maxRestarts": request.options.retries,
                "rules": [{"name": "mistake", "action": "FailJobSet", "onJobFailureReasons": ["PodFailurePolicy"]}],
            },
            # By host names the pods find each other, before any is ready.
            "network": {"enableDNSHostnames": True, "publishNotReadyAddresses": True},
            "replicatedJobs": [{"name": pool.group, "replicas": pool.jobs, "template": {"spec": job}}],
        },
    }


def pod(request: Request, pool: Pool) -> dict[str, Any]:
    """One host's pod."""
    options = request.options
    words = request.command("run", python="python", path=f"{_CONFIG_FOLDER}/config.yaml")
    container: dict[str, Any] = {
        "name": "splitjax",
        "image": options.image,
        "command": [quote(word, "kubernetes") for word in words],
        "resources": {"limits": pool.limits},
        "volumeMounts": [{"name": "config", "mountPath": _CONFIG_FOLDER}],
    }
    volumes: list[dict[str, Any]] = [{"name": "config", "configMap": {"name": request.name}}]
    annotations: dict[str, str] = {}
    flags = [{"name": name, "value": value} for name, value in xla_flags(request, pool.platform).items()]
    if variables := [*flags, *pool.cluster(request.name)]:
        container["env"] = variables
    if pool.platform == "gpu":  # NCCL's buffers lie there, and a container's own has 64 MB
        volumes.append({"name": "shm", "emptyDir": {"medium": "Memory"}})
        container["volumeMounts"].append({"name": "shm", "mountPath": "/dev/shm"})
    if options.env:
        container["envFrom"] = [{"secretRef": {"name": request.name}}]
    if options.bucket:
        attributes = {"bucketName": options.bucket, "mountOptions": "implicit-dirs"}
        volumes.append({
            "name": "bucket", "csi": {"driver": "gcsfuse.csi.storage.gke.io", "volumeAttributes": attributes},
        })
        container["volumeMounts"].append({"name": "bucket", "mountPath": _BUCKET_FOLDER})
        container["workingDir"] = _BUCKET_FOLDER
        annotations["gke-gcsfuse/volumes"] = "true"
    where = pool.labels | ({} if options.on_demand else {"cloud.google.com/gke-spot": "true"})
    return {
        **({"metadata": {"annotations": annotations}} if annotations else {}),
        "spec": {
            "restartPolicy": "Never", "terminationGracePeriodSeconds": _SECONDS_TO_SAVE, "nodeSelector": where,
            **({"serviceAccountName": options.service_account} if options.service_account else {}),
            "containers": [container], "volumes": volumes,
        },
    }


def _secret(request: Request) -> str:
    """Bash that hands the values of variables to the cluster; they stand in no script and in no command."""
    names_ = " ".join(map(quote, request.options.env))
    values = f"for name in {names_}; do printf '%s=%s\\n' \"$name\" \"${{!name}}\"; done"
    made = shell.line(["kubectl", "create", "secret", "generic", request.name, "--dry-run=client", "--output=yaml"])
    key = f"{_LABEL}={names.key(request.folder)}"
    label = shell.line(["kubectl", "label", "--local", "--filename=-", key, "--output=yaml"])
    return f"{made} --from-env-file=<({values}) | {label} | kubectl apply --filename=-"


def _named(request: Request) -> dict[str, Any]:
    return {"name": request.name, "labels": {_LABEL: names.key(request.folder)}}


class _Readable(yaml.SafeDumper):
    """Text of several lines as a block, so that a person can read the config in the manifest."""


_Readable.add_representer(
    str,
    lambda dumper, text: dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None),
)


def _yaml(value: dict[str, Any]) -> str:
    return yaml.dump(value, Dumper=_Readable, sort_keys=False, allow_unicode=True, width=120)
