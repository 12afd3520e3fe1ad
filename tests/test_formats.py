"""Versions of what lies on disk, under review: another number refuses every older folder, so it is meant or a mistake.

After a change that is meant: the number here, a line in CHANGELOG.md, and a test that reads or refuses an older form.
"""

from __future__ import annotations

import ast
from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[1] / "splitjax"
KEPT = {
    "data/clusterer.py": 2,
    "data/manifest.py": 3,
    "evaluate/saved_router.py": 1,
    "law/fitting/law_fit.py": 3,
    "runs/operational.py": 1,
    "runs/phase_record.py": 3,
    "runs/seed.py": 3,
    "runs/stage_records.py": 2,
    "runs/sweeping/lane_groups.py": 1,
    "serving/export_record.py": 1,
    "train/metrics.py": 2,
    "train/record.py": 1,
}


def test_no_format_changes_unseen() -> None:
    found = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            names = [target.id for target in getattr(node, "targets", []) if isinstance(target, ast.Name)]
            if {"FORMAT", "VERSION"} & {*names} and isinstance(value := getattr(node, "value", None), ast.Constant):
                found[path.relative_to(PACKAGE).as_posix()] = value.value
    assert found == KEPT
