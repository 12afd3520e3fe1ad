"""A run of a tiny config: begun, ended, looked at, compared."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from .world import command, environment, tiny_tree

DATED = ("made", "provenance", "hash")
"""Of a record: dates, and the hash of all of it, dates included."""
CLOCK = ("tokens_per_s", "check")
"""Of a row of metrics: its speed, and its checksum, which covers the speed."""
RECORDS = ("law.json", "plan.json", "main.json", "results.json", "data/manifest.json")


def config_in(
    folder: Path, corpus: Path, name: str, run_dir: Path | None = None, changes: Mapping[str, Any] | None = None
) -> Path:
    """Write the tiny config of a run `name` in `folder`; a key whose change is None is left out."""
    (folder / name).mkdir(parents=True, exist_ok=True)
    path = folder / name / "tiny.yaml"
    tree = tiny_tree(corpus, run_dir or folder / name / "run") | dict(changes or {})
    path.write_text(yaml.safe_dump({key: value for key, value in tree.items() if value is not None}), encoding="utf-8")
    return path


def splitjax(*words: object) -> subprocess.CompletedProcess[str]:
    """A command of splitjax, to its end."""
    return subprocess.run(command(*words), env=environment(), capture_output=True, text=True)


def finish(config: Path) -> Path:
    """Run to the end; the run folder."""
    done = splitjax("run", config)
    if done.returncode:
        sys.exit(f"chaos: a run failed\n{done.stderr[-2000:]}")
    return run_of(config)


def run_of(config: Path) -> Path:
    """The run folder of a config."""
    return Path(yaml.safe_load(config.read_text(encoding="utf-8"))["run_dir"])


def refusal(done: subprocess.CompletedProcess[str] | tuple[int, str]) -> tuple[int, str, bool]:
    """(exit code, what splitjax said of itself, whether that is one line and no traceback)."""
    code, text = done if isinstance(done, tuple) else (done.returncode, done.stderr)
    lines = [line for line in text.splitlines() if line.startswith("splitjax: ")]
    return code, " | ".join(lines), len(lines) == 1 and "Traceback" not in text


def stopped(finished: Path, to: Path) -> Path:
    """A copy of a run that looks as it did when its last experts, and the trunk under them, were under way."""
    shutil.rmtree(to, ignore_errors=True)
    shutil.copytree(finished, to)
    for stage in ("train", "evaluate", "report"):
        (to / "done" / f"{stage}.json").unlink()
    for name in ("main.json", "results.json", "report.html"):
        (to / name).unlink()
    trunk = max((to / "phases").glob("*.trunk"), key=lambda path: len(list((path / "checkpoints").iterdir())))
    for phase in [trunk, max((to / "phases").glob(f"{trunk.name}.mix*.experts*"))]:
        (phase / "done.json").unlink()
    shutil.rmtree(max((trunk / "checkpoints").iterdir()))
    return to


def begun(finished: Path, to: Path) -> Path:
    """What a run that was killed before it had prepared anything leaves."""
    shutil.rmtree(to, ignore_errors=True)
    (to / "data").mkdir(parents=True)
    for name in ("config.yaml", ".config.json"):
        shutil.copy2(finished / name, to / name)
    return to


def fingerprint(run: Path) -> dict[str, Any]:
    """Everything of a finished run that must not depend on how often it was disturbed.

    Of every kept checkpoint the hashes of all its arrays, the table of observations, the law, the plan, the results
    and the losses of every step, without dates and speeds.
    """
    found: dict[str, Any] = {}
    for record in sorted(run.glob("phases/*/checkpoints/*/checkpoint.json")):
        phase, _, tokens, _ = record.relative_to(run / "phases").parts
        found[f"checkpoint {phase}/{tokens}"] = _arrays(record)
    if (run / "observations.csv").exists():
        found["observations.csv"] = (run / "observations.csv").read_text()
    for name in RECORDS:
        if (run / name).exists():
            tree = json.loads((run / name).read_text())
            found[name] = {key: value for key, value in tree.items() if key not in DATED}
    for log in sorted(run.glob("phases/*/metrics*.jsonl")):
        rows = [json.loads(line) for line in log.read_text().splitlines()]
        name = f"metrics {log.parent.name}{log.stem.removeprefix('metrics')}"
        found[name] = [{k: v for k, v in row.items() if k not in CLOCK} for row in rows]
    return found


def _arrays(record: Path) -> dict[str, str]:
    """Hash of each array file; Orbax's own files beside them hold the time."""
    files = json.loads(record.read_text())["files"]
    return {name: digest for name, digest in files.items() if "/" in name}


def compare(one: dict[str, Any], other: dict[str, Any]) -> list[str]:
    """Names of what differs or is missing."""
    return sorted(name for name in one.keys() | other.keys() if one.get(name) != other.get(name))


def moment_of(run: Path) -> str:
    """What a run is doing, read from its folder alone."""
    if not (run / "done" / "prepare.json").exists():
        return "prepare"
    for record in run.glob("phases/*/phase.json"):
        if not (record.parent / "done.json").exists():
            return _moment_of_phase(record.parent)
    done = {path.stem for path in (run / "done").glob("*.json")}
    following = {"sweep": "fit", "fit": "plan", "plan": "train", "train": "evaluate", "evaluate": "report"}
    return next((then for stage, then in reversed(following.items()) if stage in done), "sweep")


def _moment_of_phase(phase: Path) -> str:
    checkpoints = phase / "checkpoints"
    names = [path.name for path in checkpoints.iterdir()] if checkpoints.is_dir() else []
    if any(not (checkpoints / name / "checkpoint.json").exists() for name in names):
        return "save"
    if ".experts" not in phase.name:
        return "seed"
    return "experts" if (phase / "metrics.jsonl").exists() or ".experts" in phase.name.rsplit(".", 1)[0] else "split"


def size_of(folder: Path) -> int:
    """Bytes of the files below a folder, as blocks of a small file system."""
    return sum(-(-path.stat().st_size // 4096) * 4096 for path in folder.rglob("*") if path.is_file())
