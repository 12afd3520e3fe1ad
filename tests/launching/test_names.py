"""Names of jobs: valid wherever they go, one a run folder, and what is deleted by them is this run folder's alone."""

from __future__ import annotations

import os
import re
import shlex
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from splitjax import launching
from splitjax.config import UserError, control_character, from_dict, load
from splitjax.launching import Options, Request, names

from .test_gke import PLACE, Script, manifests

ROOT = Path(__file__).resolve().parents[2]
TPU = sorted((ROOT / "configs" / "tpu").glob("*.yaml"))
DNS_1035 = re.compile(r"[a-z]([-a-z0-9]*[a-z0-9])?")
FOLDERS = st.text(st.characters(), min_size=1, max_size=80).filter(lambda name: control_character(name) is None)


def request(run_dir: str, **options: Any) -> Request:
    tree: dict[str, Any] = {
        "name": "x", "data": {"sources": [{"type": "phonebook"}]}, "budget": {"tokens": 1000}, "split": 0.5,
    }
    return Request("c.yaml", (), from_dict(tree | {"run_dir": run_dir}), Options(**options))


def valid(label: str) -> bool:
    return bool(DNS_1035.fullmatch(label)) and len(label) <= 63


@pytest.mark.parametrize("path", TPU, ids=lambda path: path.stem)
@pytest.mark.parametrize("topology", ["v5p:4x4x4", "v5p:8x16x16", "16xv6e:16x16"])
def test_jobs_and_pods_of_the_shipped_configs_have_valid_names(path: Path, topology: str) -> None:
    script = launching.script_of(str(path), on="gke", **PLACE | {"topology": topology})
    config_map, job_set = manifests(script)
    name = job_set.metadata.name
    assert name == config_map.metadata.name
    (group,) = job_set.spec.replicatedJobs
    job = f"{name}-{group.name}-{group.replicas - 1}"
    assert valid(name)
    assert valid(job)
    assert valid(f"{job}-{group.template.spec.completions - 1}-abcde")
    create = launching.script_of(str(path), on="tpu-vm", zone="z", topology=topology, bucket="b")
    (told,) = (line for line in create.splitlines() if "queued-resources create" in line)
    assert name in shlex.split(told)


def test_six_configs_are_shipped_and_no_two_share_a_name() -> None:
    assert len(TPU) == 6
    assert len({Request(str(path), (), load(path)).name for path in TPU}) == 6


@given(FOLDERS)
def test_any_run_folder_has_a_name_that_every_place_takes(folder: str) -> None:
    for options in ({}, {"bucket": "b"}):
        name = request(folder, **options).name
        assert valid(name)
        assert len(name) <= names.LONGEST
        names.check_pod(name, "slice", 1000, 10_000)


@given(FOLDERS, FOLDERS)
def test_two_run_folders_have_two_names(one: str, other: str) -> None:
    same = os.path.abspath(one) == os.path.abspath(other)
    assert (request(one).name == request(other).name) is same


@pytest.mark.parametrize("folders", [
    ("runs/exp_lr1", "runs/exp-lr1", "runs/EXP.lr1", "runs/exp lr1", "other/exp_lr1"),
    ("runs/" + "a" * 40 + "1", "runs/" + "a" * 40 + "2", "runs/" + "a" * 39),
    ("runs/1", "runs/run-1", "runs/run_1", "runs/-1"),
    ("runs/é", "runs/è", "runs/_"),
])
def test_what_folding_and_cutting_make_equal_stays_apart(folders: tuple[str, ...]) -> None:
    for options in ({}, {"bucket": "b"}):
        found = [request(folder, **options).name for folder in folders]
        assert len(set(found)) == len(folders), found


def test_a_folder_is_the_same_however_it_is_spelt(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    assert request("runs/x").name == request("./runs/x/").name == request(f"{tmp_path}/runs/x").name
    assert request("runs/x", bucket="b").name == request("runs//x", bucket="b").name
    assert request("runs/x", bucket="b").name != request("runs/x", bucket="c").name
    assert request("/nfs/x", bucket="b").name == request("/nfs/x").name, "an absolute one lies in no bucket"


@pytest.mark.parametrize(("label", "suffixes"), [
    ("2-7b-x8", ()), ("", ()), ("Upper", ()), ("end-", ()), ("a" * 64, ()), ("a" * 60, ("slice",)), ("a_b", ()),
])
def test_a_name_that_a_cluster_would_refuse_is_refused_here(label: str, suffixes: tuple[str, ...]) -> None:
    with pytest.raises(UserError, match="is no name for a job"):
        names.check(label, *suffixes)


def test_pods_count_towards_the_length() -> None:
    names.check_pod("a" * 43, "slice", 10, 100)  # 43 + "-slice" + "-9" + "-99" + "-xxxxx" are 60
    names.check_pod("a" * 46, "slice", 10, 100)
    with pytest.raises(UserError, match="is no name for a job"):
        names.check_pod("a" * 47, "slice", 10, 100)


def test_gke_deletes_by_the_label_of_the_run_folder(script: Script) -> None:
    """Names are cut and folded; a label holds the whole folder's hash, so nothing else can be meant."""
    config_map, job_set = manifests(script("gke", **PLACE))
    labels = job_set.metadata.labels
    assert labels == config_map.metadata.labels
    ((key, value),) = labels.items()
    assert len(value) == 40
    deleted = shlex.split(script("gke", action="delete", **PLACE))
    kinds = "jobset,configmap,secret"
    assert deleted == ["kubectl", "delete", kinds, f"--selector={key}={value}", "--ignore-not-found"]
    other = shlex.split(script("gke", "run_dir=runs/tiny.run", action="delete", **PLACE))
    assert other[:3] == deleted[:3]
    assert other[3] != deleted[3]
    # An ended one is taken out of the way by the same label.
    started = script("gke", **PLACE)
    assert f"kubectl delete jobset --selector={key}={value} --ignore-not-found" in started
    assert f"kubectl get jobset --selector={key}={value}" in started


@pytest.mark.parametrize("action", ["delete", "logs"])
@pytest.mark.parametrize("on", ["gke", "tpu-vm"])
def test_which_run_folder_is_meant_must_be_told_in_whole(script: Script, on: str, action: str) -> None:
    place = {"topology": "v5p:4x4x4"} | ({"zone": "z"} if on == "tpu-vm" else {"image": "i"})
    with pytest.raises(UserError, match="Give --bucket"):
        script(on, action=action, **place)


@pytest.mark.parametrize("option", ["--job-name=mine", "-Jmine"])
def test_slurm_jobs_keep_the_name_that_delete_goes_by(script: Script, option: str) -> None:
    with pytest.raises(UserError, match="the job's name is the run folder's"):
        script("slurm", sbatch=(option,))
    name = re.search(r"^#SBATCH --job-name=(\S+)$", script("slurm"), re.MULTILINE)[1]
    assert valid(name)
    assert script("slurm", action="delete") == f"scancel --name={name} --me\n"
