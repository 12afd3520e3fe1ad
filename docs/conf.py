"""Sphinx builds these pages: `tools/docs`."""

from __future__ import annotations

import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE.parent), str(HERE)]

import generate  # noqa: E402 - beside this file

import splitjax  # noqa: E402

project = "splitjax"
version = release = splitjax.__version__
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
source_suffix = {".md": "markdown"}
exclude_patterns = ["_build"]
html_theme = "furo"
html_title = "splitjax"
html_show_copyright = False
html_copy_source = False
myst_heading_anchors = 3
highlight_language = "none"
autodoc_typehints_format = "short"
# The code's own words: Args, Returns and Raises as Google writes them.
napoleon_numpy_docstring = False


def setup(app: object) -> None:
    """Pages made from the code, so that they cannot lag behind it."""
    generate.write(HERE / "generated")
