"""The manifest: valid as a JobSet, with the config inside, and one pod a host."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from splitjax import launching
from splitjax.config import UserError, from_dict
from splitjax.launching import Request, shell
from splitjax.parallel import cluster

from .jobset import ConfigMap, Container, JobSet

GPUS = {"accelerator": "h100-80gb", "accelerators": 8, "image": "registry/splitjax:1", "bucket": "b"}
PLACE = {"topology": "2xv6e:4x8", "image": "registry/splitjax:1", "bucket": "b"}
Script = Callable[..., str]


def manifests(script: str) -> tuple[ConfigMap, JobSet]:
    text = re.search(r"<<'(EOF_*)'\n(.*)\n\1$", script.rstrip(), re.DOTALL)
    assert text, script
    first, second = yaml.safe_load_all(text[2])
    return ConfigMap.model_validate(first), JobSet.model_validate(second)


def container(job_set: JobSet) -> Container:
    return job_set.spec.replicatedJobs[0].template.spec.template.spec.containers[0]


def test_the_manifest_is_a_jobset(script: Script, config: Path) -> None:
    config_map, job_set = manifests(script("gke", "train.batch_size=8", service_account="s", retries=3, **PLACE))
    assert config_map.data["config.yaml"] == config.read_text()
    (slices,) = job_set.spec.replicatedJobs
    job = slices.template.spec
    pod = job.template.spec
    assert (slices.replicas, job.parallelism, job.completions) == (2, 8, 8)
    assert job_set.spec.failurePolicy.maxRestarts == 3
    assert pod.serviceAccountName == "s"
    assert pod.nodeSelector == {
        "cloud.google.com/gke-tpu-accelerator": "tpu-v6e-slice",
        "cloud.google.com/gke-tpu-topology": "4x8",
        "cloud.google.com/gke-spot": "true",
    }
    ours = container(job_set)
    assert ours.command[-2:] == ["/etc/splitjax/config.yaml", "train.batch_size=8"]
    assert (ours.workingDir, ours.resources.limits["google.com/tpu"]) == ("/bucket", 4)
    assert {mount.name for mount in ours.volumeMounts} == {volume.name for volume in pod.volumes}


def test_a_single_host_is_no_cluster(script: Script) -> None:
    one = container(manifests(script("gke", **PLACE | {"topology": "v5e:2x4"}))[1])
    assert [each.name for each in one.env] == ["LIBTPU_INIT_ARGS"]
    assert one.resources.limits["google.com/tpu"] == 8
    assert "auto" in [each.value for each in container(manifests(script("gke", **PLACE))[1]).env]


def test_one_gpu_node_is_one_process_with_all_its_gpus(script: Script) -> None:
    _, job_set = manifests(script("gke", "train.batch_size=8", **GPUS))
    (nodes,) = job_set.spec.replicatedJobs
    job = nodes.template.spec
    assert (nodes.replicas, job.parallelism, job.completions, job.completionMode) == (1, 1, 1, "Indexed")
    assert job.template.spec.nodeSelector == {
        "cloud.google.com/gke-accelerator": "nvidia-h100-80gb", "cloud.google.com/gke-spot": "true",
    }
    assert not job_set.metadata.annotations  # other jobs may use the pool
    ours = container(job_set)
    assert ours.command[-2:] == ["/etc/splitjax/config.yaml", "train.batch_size=8"]
    assert ours.resources.limits == {"nvidia.com/gpu": 8}
    assert [each.name for each in ours.env] == ["XLA_FLAGS"]  # alone: no cluster
    assert {mount.name: mount.mountPath for mount in ours.volumeMounts} == {
        "config": "/etc/splitjax", "shm": "/dev/shm", "bucket": "/bucket",
    }
    shared = {volume.name: volume for volume in job.template.spec.volumes}["shm"]
    assert shared.emptyDir is not None
    assert shared.emptyDir.medium == "Memory"


def test_processes_of_gpu_nodes_find_each_other(
    script: Script, config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = GPUS | {"accelerator": "a100-40gb", "accelerators": 4, "nodes": 2, "on_demand": True}
    _, job_set = manifests(script("gke", **place))
    (nodes,) = job_set.spec.replicatedJobs
    job = nodes.template.spec
    assert (nodes.replicas, job.parallelism, job.completions) == (1, 2, 2)
    assert job.template.spec.nodeSelector == {"cloud.google.com/gke-accelerator": "nvidia-tesla-a100"}
    ours = container(job_set)
    assert ours.resources.limits == {"nvidia.com/gpu": 4}
    variables = {each.name: each for each in ours.env}
    # A pod is called JOBSET-GROUP-JOB-POD and stands in the JobSet's own subdomain.
    name = job_set.metadata.name
    assert variables["SPLITJAX_COORDINATOR"].value == f"{name}-{nodes.name}-0-0.{name}:8476"
    assert job_set.spec.network is not None
    assert job_set.spec.network.enableDNSHostnames
    assert job_set.spec.network.subdomain is None
    index = variables["SPLITJAX_PROCESS"].valueFrom
    assert index is not None
    assert index.fieldRef.fieldPath == "metadata.annotations['batch.kubernetes.io/job-completion-index']"
    assert "SPLITJAX_DISTRIBUTED" not in variables
    told = {each.name: each.value or "1" for each in ours.env}  # the cluster's word for the second pod
    assert cluster._cluster(told) == {
        "coordinator_address": f"{name}-node-0-0.{name}:8476", "num_processes": 2, "process_id": 1,
    }


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"accelerator": "h100-80g"}, r"--accelerator: no accelerator 'h100-80g'\. Did you mean 'h100-80gb'\?"),
        ({"accelerator": "none"}, r"Known: a100-40gb, a100-80gb, h100-80gb, h100-mega-80gb, h200-141gb\."),
        ({"topology": "v5p:2x2x2"}, r"--topology and --accelerator exclude each other\. Leave one of them out\."),
        ({"accelerator": None}, r"--on gke needs --topology or --accelerator\. --topology: TPU slices"),
        ({"accelerators": 0}, "--accelerators must be at least 1, not 0"),
        ({"accelerator": None, "topology": "v5p:2x2x2", "nodes": 2}, "--nodes means nothing with --topology"),
        ({"accelerator": None, "topology": "v5p:2x2x2", "accelerators": 4}, "--accelerators means nothing with --topo"),
    ],
)
def test_a_pool_that_is_none_is_refused(script: Script, change: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        script("gke", **GPUS | change)


def test_the_flags_suit_the_recipe(script: Script) -> None:
    plain, offload = (
        container(manifests(script("gke", *more, **PLACE))[1]).env[0].value for more in ([], ["train.remat=offload"])
    )
    assert "--xla_tpu_scoped_vmem_limit_kib=" in plain
    assert "host_transfer" in offload
    assert "host_transfer" not in plain


def test_chips_that_stay(script: Script) -> None:
    _, job_set = manifests(script("gke", on_demand=True, **PLACE))
    pod = job_set.spec.replicatedJobs[0].template.spec.template.spec
    assert "cloud.google.com/gke-spot" not in pod.nodeSelector


def test_without_a_bucket_nothing_is_mounted(script: Script) -> None:
    _, job_set = manifests(script("gke", "run_dir=/shared/run", **PLACE | {"bucket": None}))
    template = job_set.spec.replicatedJobs[0].template.spec.template
    assert template.metadata is None
    assert [volume.name for volume in template.spec.volumes] == ["config"]


@given(name=st.from_regex(r"^[A-Za-z0-9][A-Za-z0-9._-]*$", fullmatch=True))
def test_any_run_name_becomes_a_dns_label(name: str) -> None:
    tree: dict[str, Any] = {
        "name": name, "data": {"sources": [{"type": "phonebook"}]}, "budget": {"tokens": 1000}, "split": 0.5,
    }
    label = Request("c.yaml", (), from_dict(tree)).name
    assert re.fullmatch(r"[a-z0-9]([-a-z0-9]{0,38}[a-z0-9])?", label)


def test_the_models_refuse_what_the_cluster_would(script: Script) -> None:
    _, job_set = manifests(script("gke", **PLACE))
    good = job_set.model_dump(exclude_unset=True)
    JobSet.model_validate(good)
    for path, bad in (
        (("kind",), "Jobset"),
        (("metadata", "name"), "Upper"),
        (("spec", "replicatedJob"), []),
        (("spec", "failurePolicy", "maxRestarts"), -1),
    ):
        tree = job_set.model_dump(exclude_unset=True)
        node = tree
        for key in path[:-1]:
            node = node[key]
        node[path[-1]] = bad
        with pytest.raises(ValidationError):
            JobSet.model_validate(tree)


@pytest.mark.parametrize(
    ("state", "calls"),
    [("", ["get", "apply"]), ("Completed", ["get", "delete", "apply"]), ("Failed", ["get", "delete", "apply"])],
)
def test_the_same_command_starts_an_ended_one_again(
    config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, state: str, calls: list[str]
) -> None:
    told = tmp_path / "calls"
    kubectl = tmp_path / "kubectl"
    body = f'echo "$1" >>"{told}"; [ "$1" = get ] && printf "{state}"; cat >"{told}.in"'
    kubectl.write_text(f"#!/usr/bin/env bash\n{body}\n")
    kubectl.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    assert launching.launch(str(config), on="gke", **PLACE) == 0
    assert told.read_text().split() == calls
    assert "kind: JobSet" in Path(f"{told}.in").read_text()


@given(st.lists(st.sampled_from(["EOF", "EOF_", " EOF", "$HOME `id` \\", "'", ""]), max_size=6))
def test_a_here_document_gives_its_text_unchanged(lines: list[str]) -> None:
    text = "\n".join(["first", *lines, "last"])
    done = subprocess.run(["bash", "-c", shell.here("cat", text)], capture_output=True, text=True, check=True)
    assert done.stdout == text + "\n"
