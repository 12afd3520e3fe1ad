"""A corpus of three made-up languages; one has a name that a page must escape and a path must not swallow."""

from __future__ import annotations

from pathlib import Path

import pytest

from tools.faults.world import write_corpus


@pytest.fixture(scope="session")
def corpus_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_corpus(tmp_path_factory.mktemp("corpus") / "docs.jsonl", documents=360)
