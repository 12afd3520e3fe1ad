"""Law fits timed in one run: ours, the `chinchilla` package, plain scipy, and all families with draws and correction.

    python tools/bench_law.py                                  # without the package
    python tools/bench_law.py --peer OTHER_ENV/bin/python      # an interpreter that has `chinchilla` installed
    python tools/bench_law.py --table df.csv --columns n_params=N,d_pretrain=D

Wall seconds mean little on a busy machine; seconds of processor stand beside them. The package's row includes the start
of its interpreter (1 to 2 s).
The first fit of a process is "cold"; the same call again is "warm"; nothing is compiled. Rows without --table are
synthetic: 240 of E + A/N^a + B/D^b with 0.5 % noise. The scipy row is what one writes in ten minutes: L-BFGS-B with
finite differences from a grid of 432 starts over logarithms of E, A and B.
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
        tell(name, *timed(run), lambda found: f"objective {found:.8g}")
    if not args.skip_auto:
        rows = transfer()
        print(f"auto: all families, {len(rows)} rows, 200 draws and the correction")
        for name in ("cold", "warm"):
            tell(name, *timed(lambda: corrected(rows)), lambda law: f"combined: {', '.join(law.weights)}")
        tell("one family without draws, warm", *timed(lambda: fit(rows, "effective_data", bootstrap=0)), lambda law: "")


def corrected(rows: Table) -> Any:
    """A law of all families with its draws, and its correction made ready."""
    law = fit(rows, bootstrap=200)
    law.predict(float(rows.n_params[0]), rows.d_pretrain, rows.d_special)
    return law


def fits(table: Table, peer: str | None) -> Mapping[str, Callable[[], float]]:
    """Name → a fit that returns its objective."""

    def ours() -> float:
        return fit(table, "chinchilla", bootstrap=0).families[0].objective

    rows: dict[str, Callable[[], float]] = {
        "splitjax, 48 starts and held-out fits, cold": ours,
        "splitjax, 48 starts and held-out fits, warm": ours,
        "scipy L-BFGS-B, 432 starts": lambda: plain_scipy(table),
    }
    if peer:
        rows["chinchilla package, 432 starts"] = lambda: package(table, peer)
    return rows


def timed(call: Callable[[], Any]) -> tuple[float, float, Any]:
    """Seconds by the clock, seconds of processor (children included), value."""
    start, before = time.perf_counter(), sum(os.times()[:4])
    value = call()
    return time.perf_counter() - start, sum(os.times()[:4]) - before, value


def tell(name: str, wall: float, processor: float, value: Any, words: Callable[[Any], str]) -> None:
    print(f"  {name:<44}{wall:>9.2f} s{processor:>9.2f} s of processor   {words(value)}", flush=True)


def objective(table: Table, e: float, a: float, b: float, alpha: float, beta: float) -> float:
    """Sum of Huber(1e-3) over log residuals."""
    f = e + a / table.n_params**alpha + b / table.d_pretrain**beta
    size = np.abs(np.log(f / table.loss))
    return float(np.where(size <= DELTA, 0.5 * size**2, DELTA * (size - 0.5 * DELTA)).sum())


def plain_scipy(table: Table) -> float:
    starts = itertools.product(
        np.log([1.0, 1.5, 2.0]), np.linspace(1, 10, 4), np.linspace(1, 10, 4), (0.1, 0.4, 0.7), (0.1, 0.4, 0.7)
    )

    def loss(x: np.ndarray) -> float:
        return objective(table, *np.exp(x[:3]), *x[3:])

    with np.errstate(all="ignore"):  # far-off starts overflow
        options = {"ftol": 1e-14, "gtol": 1e-10}
        return float(min(minimize(loss, x, method="L-BFGS-B", options=options).fun for x in starts))


def package(table: Table, peer: str) -> float:
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
    return objective(table, *(found[name] for name in ("E", "A", "B", "alpha", "beta")))


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
