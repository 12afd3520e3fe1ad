"""What prepared data adds to the price of a run."""

from __future__ import annotations

from pathlib import Path

import pytest

from splitjax import pipeline
from splitjax.config import from_dict
from splitjax.pipeline import pricing

from .helpers import tiny_tree


def test_domains_that_are_read_more_than_once_are_named(corpus_file: Path, tmp_path: Path) -> None:
    """The experts of the data that is there, and D' over what each domain has."""
    tree = tiny_tree(corpus_file, tmp_path / "run") | {"split": 0.2}
    tree.pop("sweep", None)
    config = from_dict(tree)
    summary = pipeline.prepare(config)
    found = pricing.price(config, "v5e:2x2", analytic=True)
    experts = next(part for part in found.parts if part.name == "experts")
    assert experts.experts == len(summary["domains"]["sizes"])
    sizes = dict(zip(found.epochs, summary["domains"]["sizes"], strict=True))
    for name, times in found.epochs.items():
        assert times == pytest.approx(experts.tokens / experts.experts / sizes[name])
    more = pricing.price(from_dict(tree | {"budget": {"tokens": "100M"}}), "v5e:2x2", analytic=True)
    assert all(times > 1 for times in more.epochs.values())
    assert "Tokens are short" in str(pricing.tables(more, config)[0].caption)
    assert "Tokens are short" not in str(pricing.tables(found, config)[0].caption) or max(found.epochs.values()) > 1
