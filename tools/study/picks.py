"""What a law says of its settings, written down before any of them is measured."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from splitjax import law
from splitjax.config import UserError, read_record, tokens_of, write_record
from splitjax.model import n_params
from splitjax.runs.cells import Clock
from splitjax.stages.sequence import fit_table

from .rows import Rows
from .spec import Part, Study

KIND, VERSION = "splitjax study picks", 1
CURVE = slice(None, None, 5)
"""Of the 201 points of a predicted curve, those kept."""


def pick(study: Study, name: str, rows: Rows, folder: Path) -> dict[str, Any]:
    """Fit the law to its rows and write what it says of every setting: split, interval, curve, loss of every domain.

    Args:
        name: of the law.

    Returns:
        The record, also of an earlier call.

    Raises:
        UserError: the law's rows or a setting changed since the picks were made.
    """
    path, part = folder / f"picks.{name}.json", study.law_part(name)
    asked = {key: each.asked() for key, each in study.spec.settings.items() if each.law == name}
    wanted = {"rows": rows.hash(name), "settings": asked, "n_params": n_params(study.base.model)}
    if path.exists():
        record = read_record(path, "the picks of a study", {"kind": KIND, "version": VERSION})
        for key, value in wanted.items():
            if record["asked"][key] != value:
                mend = "Restore it, or remove this file: what was measured since is then no test of the new picks."
                raise UserError(f"{key} changed since the law picked", where=str(path), mend=mend)
        return record
    fitted = fit_table(rows.table(part), study.base)
    fitted.save(study.folder / f"law.{name}.json")
    told = {key: _setting(study, key, fitted) for key in asked}
    heldout = fitted.heldout
    write_record(path, {
        "kind": KIND, "version": VERSION, "asked": wanted, "family": fitted.family, "weights": dict(fitted.weights),
        "parameters": fitted.families[0].parameters(), "mre": fitted.chosen.mre, "ranges": dict(fitted.ranges),
        "families": {one.name: {"fitted": one.mre, "held_out": one.heldout.mre if one.heldout else None}
                     for one in fitted.families},
        "held_out": heldout.to_json() if heldout else None, "notes": list(fitted.notes), "settings": told,
    })
    return read_record(path, "the picks of a study", {"kind": KIND, "version": VERSION})


def _setting(study: Study, name: str, fitted: law.LawFit) -> dict[str, Any]:
    setting = study.spec.settings[name]
    size = n_params(study.model_of(name))
    tokens = tokens_of(setting.tokens, size)
    experts = study.setting_part(name, None).experts
    found = law.plan(fitted, n_params=size, tokens=tokens, experts=experts, accounting=setting.accounting).to_json()
    kept = ("decision", "split_fraction", "interval", "flat_region", "predicted_loss", "loss_interval", "family",
            "by_family", "per_domain", "baselines", "notes")
    curve = {key: list(values)[CURVE] for key, values in found["curve"].items()}
    return {
        "n_params": size, "tokens": tokens, "experts": experts, "accounting": setting.accounting,
        **{key: found[key] for key in kept}, "curve": curve,
        "cells": predictions(study.setting_part(name, found["split_fraction"]), fitted),
    }


def predictions(part: Part, fitted: law.LawFit) -> list[dict[str, Any]]:
    """What the law says of each cell of a part, in its whole steps: cell, split, D, D', loss by domain."""
    clock, found = part.clock, {}
    for cell in part.cells:
        d, s = cell.pretrain * clock.tokens_per_step, cell.special * clock.tokens_per_step
        told = {
            "split": fraction_of(clock, cell.pretrain, cell.special), "d_pretrain": d, "d_special": s,
            "loss": {domain: float(fitted.predict(n_params(cell.model), d, s, domain)) for domain in fitted.domains},
        }
        found[d, s] = told
    return [found[key] for key in sorted(found)]


def fraction_of(clock: Clock, pretrain: int, special: int) -> float:
    """D/T of a cell, under the accounting."""
    return pretrain / (pretrain + clock.share * special)
