"""Law fits timed in one run: ours, the `chinchilla` package, plain scipy, and the whole of `auto` with 1,000 draws.

    python tools/bench_law.py                                  # without the package
    python tools/bench_law.py --peer OTHER_ENV/bin/python      # an interpreter that has `chinchilla` installed
    python tools/bench_law.py --table df.csv --columns n_params=N,d_pretrain=D

The first fit of a shape compiles ("cold"); the same call again is "warm". Rows without --table are synthetic: 240 of
E + A/N^a + B/D^b with 0.5 % noise. The scipy row is what one writes in ten minutes: L-BFGS-B with finite differences
from a grid of 432 starts over logarithms of E, A and B.
"""

from __future__ import annotations

import argparse
import csv
import itertools
import json
import os
import platform
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from scipy.optimize import minimize

from splitjax.law import Table, fit

DELTA = 1e-3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--table", help="CSV file for the chinchilla fits")
    parser.add_argument("--columns", default="", help="OURS=THEIRS,… of that file")
    parser.add_argument("--peer", help="Python interpreter with the chinchilla package")
    parser.add_argument("--skip-auto", action="store_true", help="leave out the selection over all families")
    args = parser.parse_args()
    columns = dict(pair.split("=") for pair in args.columns.split(",") if pair)
    table = Table.read(args.table, columns) if args.table else synthetic()
    print(f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, commit {commit()}")
    print(f"chinchilla family, {len(table)} rows")
    for name, run in fits(table, args.peer).items():
        seconds, objective = run()
        print(f"  {name:<44}{seconds:>9.3f} s   objective {objective:.8g}", flush=True)
    if not args.skip_auto:
        rows = transfer()
        print(f"auto: 8 families, {len(rows)} rows, 1,000 draws")
        for name in ("cold", "warm"):
            seconds, law = timed(lambda: fit(rows, bootstrap=1000))
            print(f"  {name:<44}{seconds:>9.3f} s   {law.family}; drawn: {', '.join(law.near)}", flush=True)
        seconds, _ = timed(lambda: fit(rows, "effective_data", bootstrap=0))
        print(f"  one family without draws, warm{'':<14}{seconds:>9.3f} s")


def fits(table: Table, peer: str | None) -> Mapping[str, Callable[[], tuple[float, float]]]:
    """Name → timed fit."""

    def ours() -> tuple[float, float]:
        seconds, law = timed(lambda: fit(table, "chinchilla", bootstrap=0))
        return seconds, law.chosen.objective

    rows: dict[str, Callable[[], tuple[float, float]]] = {
        "splitjax, 64 starts and held-out fits, cold": ours,
        "splitjax, 64 starts and held-out fits, warm": ours,
        "scipy L-BFGS-B, 432 starts": lambda: plain_scipy(table),
    }
    if peer:
        rows["chinchilla package, 432 starts"] = lambda: package(table, peer)
    return rows


def timed(call: Callable[[], Any]) -> tuple[float, Any]:
    start = time.perf_counter()
    value = call()
    return time.perf_counter() - start, value


def objective(table: Table, e: float, a: float, b: float, alpha: float, beta: float) -> float:
    """Sum of Huber(1e-3) over log residuals."""
    f = e + a / table.n_params**alpha + b / table.d_pretrain**beta
    size = np.abs(np.log(f / table.loss))
    return float(np.where(size <= DELTA, 0.5 * size**2, DELTA * (size - 0.5 * DELTA)).sum())


def plain_scipy(table: Table) -> tuple[float, float]:
    starts = itertools.product(
        np.log([1.0, 1.5, 2.0]), np.linspace(1, 10, 4), np.linspace(1, 10, 4), (0.1, 0.4, 0.7), (0.1, 0.4, 0.7)
    )

    def loss(x: np.ndarray) -> float:
        return objective(table, *np.exp(x[:3]), *x[3:])

    start = time.perf_counter()
    with np.errstate(all="ignore"):  # far-off starts overflow
        best = min(minimize(loss, x, method="L-BFGS-B", options={"ftol": 1e-14, "gtol": 1e-10}).fun for x in starts)
    return time.perf_counter() - start, float(best)


def package(table: Table, peer: str) -> tuple[float, float]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "df.csv"
        with open(path, "w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["C", "N", "D", "loss"])
            n, d = table.n_params, table.d_pretrain
            writer.writerows(zip(6 * n * d, n, d, table.loss, strict=True))
        script = Path(__file__).parent / "peers" / "fit_chinchilla.py"
        done = subprocess.run([peer, str(script), str(path)], capture_output=True, text=True, check=True)
    found = json.loads(done.stdout.strip().splitlines()[-1])
    return found["seconds"], objective(table, *(found[name] for name in ("E", "A", "B", "alpha", "beta")))


def synthetic() -> Table:
    """240 rows with N and D as runs have them."""
    rng = np.random.default_rng(0)
    n, d = np.exp(rng.uniform(np.log(5e7), np.log(5e9), 240)), np.exp(rng.uniform(np.log(1e9), np.log(2e11), 240))
    loss = (1.8 + 450 / n**0.34 + 1300 / d**0.34) * np.exp(0.005 * rng.normal(size=240))
    return Table.from_rows(
        {"n_params": a, "d_pretrain": b, "loss": c} for a, b, c in zip(n, d, loss, strict=True)
    )


def transfer() -> Table:
    """200 rows of an effective-data law over N, D and D'."""
    rng = np.random.default_rng(0)
    rows = []
    for n, d, s in itertools.product(np.geomspace(1e6, 1e8, 5), np.geomspace(1e7, 1e10, 8), np.geomspace(1e5, 1e8, 5)):
        loss = 1.5 + 120 / n**0.34 + 260 / (s + 1.6 * d**0.86) ** 0.33
        rows.append({"n_params": n, "d_pretrain": d, "d_special": s, "loss": loss * np.exp(0.01 * rng.normal())})
    return Table.from_rows(rows)


def commit() -> str:
    found = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True)
    return found.stdout.strip() or "unknown"


if __name__ == "__main__":
    main()
