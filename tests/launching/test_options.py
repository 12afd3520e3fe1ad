"""Every option changes what would be run, means something where it is taken, and is refused elsewhere."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from splitjax import cli, launching
from splitjax.config import UserError
from splitjax.launching.slices import Slices

SWEEP = "sweep={models: [{d_model: 8}], d_pretrain: [1k], d_special: [0]}"  # so that --parts has something to share out
NEEDED: dict[str, dict[str, Any]] = {
    "local": {},
    "slurm": {},
    "tpu-vm": {"topology": "v5p:2x2x2", "zone": "z", "bucket": "b"},
    "gke": {"topology": "v5p:2x2x2", "image": "i", "bucket": "b"},
}
GPUS = {"accelerator": "h100-80gb", "image": "i", "bucket": "b"}
OTHER: dict[str, Any] = {
    "processes": 2, "nodes": 3, "parts": 2, "retries": 4, "sbatch": ("--partition=gpu",), "topology": "2xv6e:4x4",
    "on_demand": True, "zone": "other", "project": "p", "package": "splitjax[tpu]==9", "image": "other",
    "bucket": "other", "service_account": "s", "env": ("PATH",), "accelerator": "h200-141gb", "accelerators": 4,
}
# No script shows local's retries: test_local starts again for real.
TAKEN = [
    (on, name)
    for on, backend in launching.BACKENDS.items()
    for name in sorted(backend.takes)
    if (on, name) != ("local", "retries")
]
REFUSED = [
    (on, each.name)
    for on, backend in launching.BACKENDS.items()
    for each in fields(launching.Options)
    if each.name not in backend.takes
]


@pytest.mark.parametrize("on", list(launching.BACKENDS))
@pytest.mark.parametrize("action", ["start", "logs", "delete"])
def test_what_would_be_run_is_bash(script: Callable[..., str], on: str, action: str) -> None:
    if on == "local" and action != "start":
        with pytest.raises(UserError):
            script(on, action=action)
        return
    text = script(on, "train.batch_size=8", action=action, **NEEDED[on])
    subprocess.run(["bash", "-n"], input=text, text=True, check=True)
    if action == "start":
        assert "train.batch_size=8" in text


@pytest.mark.parametrize(("on", "name"), TAKEN)
def test_an_option_changes_the_script(
    script: Callable[..., str], on: str, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("splitjax.launching.local.free_port", lambda: 1)
    place = GPUS if on == "gke" and name in ("accelerator", "accelerators", "nodes") else NEEDED[on]
    assert script(on, SWEEP, **place) != script(on, SWEEP, **{**place, name: OTHER[name]})


@pytest.mark.parametrize(("on", "name"), REFUSED)
def test_an_option_of_another_place_is_refused(script: Callable[..., str], on: str, name: str) -> None:
    with pytest.raises(UserError, match=f"--{name.replace('_', '-')} means nothing with --on {on}"):
        script(on, **{**NEEDED[on], name: OTHER[name]})


@pytest.mark.parametrize(
    ("on", "name"), [(on, name) for on, b in launching.BACKENDS.items() for name in sorted(b.needs)]
)
def test_a_needed_option_is_asked_for(script: Callable[..., str], on: str, name: str) -> None:
    with pytest.raises(UserError, match=f"--on {on} needs --{name}"):
        script(on, **{**NEEDED[on], name: None})


@pytest.mark.parametrize(("name", "value"), [("processes", 0), ("nodes", -1), ("parts", 0), ("retries", -1)])
def test_a_count_must_make_sense(script: Callable[..., str], name: str, value: int) -> None:
    with pytest.raises(UserError, match=f"--{name} must be at least"):
        script("slurm", **{name: value})


@pytest.mark.parametrize("on", ["tpu-vm", "gke"])
def test_a_run_folder_that_would_be_lost_is_refused(script: Callable[..., str], on: str) -> None:
    options = {**NEEDED[on], "bucket": None}
    with pytest.raises(UserError, match=r"runs/Tiny.Run would be lost"):
        script(on, **options)
    assert script(on, "run_dir=/shared/run", **options)


@pytest.mark.parametrize("on", ["tpu-vm", "gke"])
def test_a_config_that_is_no_file_is_refused(on: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "config.yaml").write_text("data: {sources: [{type: phonebook}]}\nbudget: {tokens: 1k}\nsplit: 0.5\n")
    given = [f"--{name.replace('_', '-')}={value}" for name, value in NEEDED[on].items()]
    assert cli.main(["launch", str(tmp_path), "--on", on, "--dry-run", *given]) == 2
    assert "must be a config file" in capsys.readouterr().err


def test_the_command_line_passes_everything_on(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    args = ["launch", str(config), "train.batch_size=8", "--on", "slurm", "--nodes", "2", "--dry-run"]
    assert cli.main([*args, "--sbatch=--partition=gpu", "--sbatch=--gpus-per-node=8"]) == 0
    expected = launching.script_of(
        str(config), ("train.batch_size=8",), on="slurm", nodes=2, sbatch=("--partition=gpu", "--gpus-per-node=8")
    )
    assert capsys.readouterr().out == expected
    assert cli.main(["launch", str(config), "--on", "slurm", "--delete", "--dry-run"]) == 0
    assert re.fullmatch(r"scancel --name=tiny-run-[a-z2-7]{8} --me\n", capsys.readouterr().out)
    assert cli.main(["launch", str(config), "--on", "slurm", "--logs", "--dry-run"]) == 0
    assert capsys.readouterr().out.startswith("tail ")
    assert cli.main(["launch", str(config), "--on", "slurm", "--zone", "z", "--dry-run"]) == 2


def test_a_missing_program_is_one_line(
    config: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert cli.main(["launch", str(config), "--on", "slurm"]) == 2
    assert "'sbatch' is not installed here" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "count", "hosts", "chips", "accelerator"),
    [
        ("v5p:4x4x4", 1, 16, 64, "v5p-128"),
        ("v4:2x2x1", 1, 1, 4, "v4-8"),
        ("v5e:2x4", 1, 1, 8, "v5litepod-8"),
        ("v5e:4x4", 1, 4, 16, "v5litepod-16"),
        ("2xv6e:8x8", 2, 16, 64, "v6e-64"),
        ("v6e:1x1", 1, 1, 1, "v6e-1"),
    ],
)
def test_a_topology_has_googles_names(name: str, count: int, hosts: int, chips: int, accelerator: str) -> None:
    """As in the tables that slices.py names."""
    slices = Slices.parse(name)
    assert (slices.count, slices.hosts, slices.chips, slices.accelerator_type) == (count, hosts, chips, accelerator)


@pytest.mark.parametrize("name", ["v5p", "v5p:4x4", "v9:4x4", "v5e:4x4x4", "v6e:0x4", "h100:8", "v5e:1x3", "0xv6e:4x4"])
def test_a_topology_that_is_none_is_refused(name: str) -> None:
    with pytest.raises(UserError, match=re.escape(name)):
        Slices.parse(name)
