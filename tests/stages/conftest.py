"""Whole runs that several files look at; in the folder above every test would seem to need all of splitjax."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.tiny import ONE_SPLIT
from tests.whole_run import made_once


@pytest.fixture(scope="session")
def whole_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One whole tiny run, through the command line, for tests that only look; to change it, `whole_run.copied`."""
    return made_once(tmp_path_factory)


@pytest.fixture(scope="session")
def split_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same of a run with one explicit split and no sweep."""
    return made_once(tmp_path_factory, **ONE_SPLIT)
