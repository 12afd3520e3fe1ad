"""Templates: what they escape, what they refuse to leave empty, and that a wheel holds them."""

from __future__ import annotations

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import jinja2
import pytest

from splitjax.reporting.rendering import code, render
from splitjax.reporting.sections import Section, figure_line, line, part

ROOT = Path(__file__).resolve().parents[2]
TEMPLATES = ROOT / "splitjax" / "reporting" / "templates"
SECTION = '{% from "section.html" import section %}{{ section(told) }}'


def laid_out(told: Section | None) -> str:
    from splitjax.reporting.rendering import _environment

    template = _environment().from_string(SECTION)
    return "".join(text.strip() for text in template.render(told=told).splitlines())


def test_names_of_domains_are_shown_and_not_obeyed() -> None:
    text = laid_out(Section("<h1>", ("<u>", "<i>"), (line("<script>", ["&"]),), ("<li>",), "<p>"))
    for tag in ("<script>", "<i>", "<u>", "<h1>", "<li><li>"):
        assert tag not in text
    assert '<td>&lt;script&gt;</td><td data-of="&lt;i&gt;">&amp;</td>' in text


def test_a_section_marks_the_least_figure_and_spans_its_headings() -> None:
    rows = (part("whole"), figure_line("a", ["2.0", "1.5", "diverged"]), line("b", ["1", "0"], "mean"))
    text = laid_out(Section("t", ("domain", "x", "y", "z"), rows))
    assert '<tr class="part"><td colspan="4">whole</td></tr>' in text
    cells = '<td data-of="x">2.0</td><td data-of="y" class="best">1.5</td><td data-of="z">diverged</td>'
    assert f"<td>a</td>{cells}" in text
    assert '<tr class="mean"><td>b</td><td data-of="x">1</td><td data-of="y">0</td></tr>' in text
    assert laid_out(None) == ""


def test_a_value_that_is_missing_is_an_error() -> None:
    with pytest.raises(jinja2.UndefinedError, match="run"):
        render("expert_card.md", name="x")


@pytest.mark.parametrize(("name", "shown"), [("a`b|c\nd", "`a'b/c d`"), ("plain", "`plain`")])
def test_a_name_cannot_leave_its_code(name: str, shown: str) -> None:
    assert code(name) == shown


def test_a_wheel_holds_every_template(tmp_path: Path) -> None:
    """Built as pip builds it, from a copy: a build leaves folders behind."""
    source = tmp_path / "source"
    shutil.copytree(ROOT / "splitjax", source / "splitjax", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    options = ["--no-deps", "--no-build-isolation", "--quiet", "-w", "out"]
    command = [sys.executable, "-m", "pip", "wheel", *options, "./source"]
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True, text=True)
    (wheel,) = (tmp_path / "out").glob("*.whl")
    held = set(zipfile.ZipFile(wheel).namelist())
    assert {f"splitjax/reporting/templates/{path.name}" for path in TEMPLATES.iterdir()} <= held
    assert {"page.html", "page.css"} <= {path.name for path in TEMPLATES.iterdir()}
