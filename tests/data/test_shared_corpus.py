"""The eight real domains of the shared corpus, where it is at hand (SPLITJAX_SHARED)."""

import os
from pathlib import Path

import pytest

from splitjax.data import Corpus, prepare

from .conftest import settings

SHARED = Path(os.environ.get("SPLITJAX_SHARED", "shared")) / "corpus"


@pytest.mark.slow
@pytest.mark.skipif(not SHARED.exists(), reason="needs the shared corpus: set SPLITJAX_SHARED")
@pytest.mark.parametrize(("method", "purity", "largest"), [("balanced", 0.95, 1.05), ("kmeans", 0.85, 9.0)])
def test_eight_clusters_find_the_eight_domains(method: str, purity: float, largest: float, tmp_path: Path) -> None:
    domains = {"method": method, "k": 8}
    data = settings(SHARED / "*.jsonl.gz", domains=domains, tokenizer={"vocab_size": 4096, "sample_chars": "4M"})
    manifest = prepare(data, tmp_path / "out", seed=0)
    assert manifest.purity is not None
    assert manifest.purity >= purity
    assert max(manifest.sizes) / (sum(manifest.sizes) / 8) <= largest
    about = Corpus.open(tmp_path / "out").about_domains()
    assert [max(row["labels"].values()) > 0.5 for row in about] == [True] * 8
    assert all(len(row["terms"]) == 12 and len(row["nearest"]) == 3 for row in about)
