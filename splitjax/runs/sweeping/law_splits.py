"""splits.json: the split of every cell of a sweep with `split: law`, fixed before its first cell starts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from splitjax import law
from splitjax.config import Config, Model, UserError, hash_file, read_record, write_record
from splitjax.data import Manifest
from splitjax.model import n_params

from .. import provenance
from ..cells import Clock, seed_tokens, unique_tokens
from ..phase_tree import model_tag
from ..run_folder import FORMAT, RunFolder
from .sweep_cells import Pick, budgets


def fix(config: Config, clock: Clock, folder: RunFolder) -> str | None:
    """Write splits.json, if it is not there.

    Returns:
        Hash of the law file that picked; None where the sweep asks no law.

    Raises:
        UserError: the law file is missing, or another than the one that this sweep was started with.
    """
    if config.sweep is None or config.sweep.law is None:
        return None
    made = _made(config, clock, folder)
    if not folder.splits.exists():
        write_record(folder.splits, made)
    return str(made["law"]["hash"])


def picks(config: Config, clock: Clock, folder: RunFolder) -> Pick | None:
    """The split of each (model, T), from splits.json where it is there, else from the law; None if no law is asked."""
    if config.sweep is None or config.sweep.law is None:
        return None
    made = {(row["model"], row["tokens"]): row["split_fraction"] for row in _made(config, clock, folder)["picks"]}
    return lambda model, tokens: made[model_tag(model), tokens]


def listed(config: Config, clock: Clock, folder: RunFolder) -> list[dict[str, Any]]:
    """The picks as rows: model, n_params, tokens, split_fraction, interval, decision, predicted_loss."""
    return list(_made(config, clock, folder)["picks"])


def _made(config: Config, clock: Clock, folder: RunFolder) -> dict[str, Any]:
    assert config.sweep is not None
    path = Path(str(config.sweep.law))
    if folder.splits.exists():
        made = read_record(folder.splits, "the splits of a sweep", {"format": FORMAT}, "Use --redo sweep.")
        if path.exists() and hash_file(path) != made["law"]["hash"]:
            raise UserError(
                f"changed since it picked the splits of the sweep in {folder.path}", where=str(path),
                mend="Restore it, or use another run_dir, or --redo sweep to pick anew.",
            )
        return made
    fitted = law.LawFit.load(path)
    manifest = Manifest.load(folder.data)
    return {
        "format": FORMAT,
        "made": provenance.now(),
        "law": {"path": str(path), "hash": hash_file(path), "family": fitted.family},
        "accounting": config.budget.accounting,
        "experts": clock.experts,
        "picks": [_pick(config, clock, fitted, manifest, model, tokens) for model, tokens in budgets(config)],
    }


def _pick(
    config: Config, clock: Clock, fitted: law.LawFit, manifest: Manifest, model: Model, tokens: int
) -> dict[str, Any]:
    size = n_params(model)
    unique = unique_tokens(config, manifest.sizes_by_domain, manifest.weights, tokens)
    found = law.plan(
        fitted, n_params=size, tokens=tokens, experts=clock.experts, accounting=config.budget.accounting,
        before=seed_tokens(config), **unique,
    ).to_json()
    told = ("split_fraction", "interval", "flat_region", "decision", "predicted_loss", "family")
    return {"model": model_tag(model), "n_params": size, "tokens": tokens} | {key: found[key] for key in told}
