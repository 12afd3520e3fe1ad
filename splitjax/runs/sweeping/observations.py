"""observations.csv: one row a cell and domain, always the end of a decay; answers.csv: what those cells answer."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from splitjax.config import write_atomic
from splitjax.model import n_params, n_params_total

from ..cells import unique_in_mixture
from ..phase_tree import Cell

COLUMNS = (
    "run", "trunk", "domain", "n_params", "n_params_total", "d_pretrain", "d_special",
    "u_pretrain", "u_special", "seed", "loss",
)
ANSWERS = (
    "run", "trunk", "domain", "n_params", "n_params_total", "d_pretrain", "d_special", "seed", "questions",
    "exact_match",
)
"""Columns of answers.csv; exact_match: share of the domain's questions, as its own expert answers them."""


def rows_of(
    cell: Cell,
    losses: Mapping[str, float],
    *,
    tokens_per_step: int,
    sizes: Mapping[str, int],
    vocab_size: int,
    seed: int,
    shares: Mapping[str, float] | None = None,
    before: int = 0,
) -> list[dict[str, object]]:
    """The rows of one finished cell.

    Args:
        losses: nats a token on validation, by domain.
        sizes: unique train tokens, by domain.
        shares: of the mixture, by domain; None: by their tokens.
        before: tokens that the seed had seen before the run, all taken as unique; they count into D.
    """
    d_pretrain, d_special = cell.pretrain * tokens_per_step, cell.special * tokens_per_step
    fresh = unique_in_mixture(d_pretrain, sizes, shares) if shares else min(d_pretrain, sum(sizes.values()))
    shared = {
        "run": cell.id,
        "trunk": cell.trunk,
        "n_params": n_params(cell.model),
        "n_params_total": n_params_total(cell.model, vocab_size),
        "d_pretrain": before + d_pretrain,
        "d_special": d_special,
        "u_pretrain": before + fresh,
        "seed": seed,
    }
    return [
        shared | {"domain": domain, "u_special": min(d_special, sizes[domain]), "loss": round(float(loss), 6)}
        for domain, loss in losses.items()
    ]


def write(path: Path, rows: Iterable[Mapping[str, object]], columns: Sequence[str] = COLUMNS) -> None:
    """Write the table, sorted by run and domain, with no times in it: equal sweeps give equal bytes."""
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n", extrasaction="ignore")
    writer.writeheader()
    writer.writerows(sorted(rows, key=lambda row: (str(row["run"]), str(row["domain"]))))
    write_atomic(path, text.getvalue())
