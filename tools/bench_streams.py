"""Figures of the data room: clusters, tokenising, streams. Prints rows for docs/data.md.

    python tools/bench_streams.py CORPUS.jsonl.gz ...

The files hold a label in the field `domain`; it is used for purity alone.
"""

from __future__ import annotations

import argparse
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from splitjax.config import Data, Domains
from splitjax.data import Corpus, prefetch, prepare


def seconds(function: Callable[[], Any], repeats: int) -> float:
    """The best of several, so that other work on the machine counts least."""
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        function()
        times.append(time.perf_counter() - start)
    return min(times)


def row(what: str, value: str, target: str) -> None:
    print(f"| {what} | {value} | {target} |", flush=True)


def purity(chosen_N: np.ndarray, label_N: np.ndarray, tokens_N: np.ndarray) -> tuple[float, float]:
    """Token-weighted purity and the largest cluster over the mean."""
    tokens_KL = np.zeros((chosen_N.max() + 1, label_N.max() + 1))
    np.add.at(tokens_KL, (chosen_N, label_N), tokens_N)
    return float(tokens_KL.max(1).sum() / tokens_KL.sum()), float(tokens_KL.sum(1).max() / tokens_KL.sum(1).mean())


def bench_clusters(texts: list[str], label_N: np.ndarray, tokens_N: np.ndarray) -> None:
    from sklearn.cluster import MiniBatchKMeans

    from splitjax.data import clusterer, kmeans
    from splitjax.data.tfidf import TfIdf

    weight_N = (tokens_N / tokens_N.mean()).astype(np.float32)
    x_ND = clusterer.unit(TfIdf.fit(texts, Domains(method="kmeans", k=8), 0).vectors(texts))

    def inertia(centroids_KD: np.ndarray) -> float:
        chosen_N = kmeans.assign(x_ND, centroids_KD, np.zeros(len(centroids_KD), np.float32))
        return float((((x_ND - centroids_KD[chosen_N]) ** 2).sum(1) * weight_N).sum())

    for k in (8, 16):
        purities, ours, theirs, balanced = [], [], [], []
        kmeans.kmeans(x_ND, weight_N, k, 99)  # compile
        for seed in range(5):
            start = time.perf_counter()
            plain_KD = kmeans.kmeans(x_ND, weight_N, k, seed)
            ours.append((time.perf_counter() - start, inertia(plain_KD)))
            start = time.perf_counter()
            other = MiniBatchKMeans(k, random_state=seed).fit(x_ND, sample_weight=weight_N)
            theirs.append((time.perf_counter() - start, inertia(other.cluster_centers_)))
            purities.append(purity(kmeans.assign(x_ND, plain_KD, np.zeros(k, np.float32)), label_N, tokens_N)[0])
            prices = kmeans.balance(x_ND, weight_N, k, 1.025, seed)
            balanced.append(purity(kmeans.assign(x_ND, *prices), label_N, tokens_N))
        row(f"K={k} purity, plain, median of 5 seeds", f"{np.median(purities):.3f}", "0.85" if k == 8 else "0.93")
        told = f"{min(b[0] for b in balanced):.3f}, largest {max(b[1] for b in balanced):.3f} x mean"
        row(f"K={k} purity, balanced, worst of 5", told, "0.95, 1.05" if k == 8 else "-")
        for name, found in (("splitjax", ours), ("MiniBatchKMeans", theirs)):
            second, cost = np.median(np.array(found), axis=0)
            row(f"K={k} {name}, median of 5", f"{1000 * second:.0f} ms, inertia {cost:.0f}", "no slower, no worse")


def bench_tokenising(files: list[str], texts: list[str], folder: Path) -> None:
    from splitjax.data.kept_rows import choose
    from splitjax.data.prepare_parts import ReadPart, Tokenise, WriteShard
    from splitjax.data.spool import Spool
    from splitjax.data.tokenizing.tokenizer import Tokenizer

    data = Data.model_validate({"sources": [{"type": "jsonl", "path": path} for path in files]})
    (folder / "spool").mkdir()
    spools = tuple(Spool(folder / "spool", f"{index}") for index in range(len(files)))
    parts = list(zip(data.sources, files, strict=True))
    for spool, (source, part) in zip(spools, parts, strict=True):
        ReadPart(spool, source, part, data).run()
    rows = choose(data.model_copy(update={"near_duplicates": None}), parts, spools)
    tokenizer = Tokenizer.load(folder / "data")

    def shard() -> None:
        for spool in spools:
            Tokenise(spool, folder / "data").run()
        where = np.stack([rows.spool_N, rows.token_starts(), rows.lengths() - 1], axis=1)
        for index in range(len(spools)):
            WriteShard(folder / f"{index}.arrayrecord", spools, where[rows.spool_N == index], 4096).run()

    fast: Any = tokenizer
    best = [float("inf")] * 3
    for _ in range(3):  # in turn, so that both meet the same machine
        best[0] = min(best[0], seconds(shard, 1))
        best[1] = min(best[1], seconds(lambda: fast._fast.encode_batch_fast(texts, add_special_tokens=False), 1))
        best[2] = min(best[2], seconds(lambda: fast._fast.encode_batch(texts, add_special_tokens=False), 1))
    chars = sum(map(len, texts)) / 1e6
    row("tokenise and shard", f"{chars / best[0]:.2f} M chars/s", "-")
    row("… of the library's encode_batch_fast", f"{best[1] / best[0]:.2f}", "0.8")
    row("… of the library's encode_batch", f"{best[2] / best[0]:.2f}", "0.8")


STREAM = """
import sys, time
from splitjax.data import Corpus, stack
corpus = Corpus.open(sys.argv[1])
streams = {"mixture": corpus.mixture(32, 1024, 0), "stack": stack([corpus.domain(k, 4, 1024, 0) for k in range(8)])}
for name, stream in streams.items():
    stream.batch(0)
    times = []
    for repeat in range(5):
        start = time.perf_counter()
        for t in range(20):
            stream.batch(20 * repeat + t)
        times.append(time.perf_counter() - start)
    print(name, 20 * 32 * 1024 / min(times))
"""


def bench_streams(folder: Path) -> None:
    command = [sys.executable, "-c", STREAM, str(folder)]
    if taskset := getattr(os, "sched_setaffinity", None):
        output = subprocess.run(command, capture_output=True, text=True, check=True,
                                preexec_fn=lambda: taskset(0, {0}))
    else:
        output = subprocess.run(command, capture_output=True, text=True, check=True)
    for line in output.stdout.splitlines():
        name, rate = line.split()
        row(f"{name}, S=1024, one core", f"{float(rate) / 1e6:.1f} M tokens/s", "2")


def bench_waiting(folder: Path) -> None:
    """How long a step of 20 ms waits for its batch, made and sent to the device ahead of it."""
    import jax

    batches = prefetch(Corpus.open(folder).mixture(32, 1024, 0), 0, 200, place=jax.device_put)
    waits = []
    for _ in range(200):
        start = time.perf_counter()
        next(batches).block_until_ready()
        waits.append(time.perf_counter() - start)
        time.sleep(0.02)
    row("wait of a 20 ms step, 32x1024, prefetched", f"mean {1000 * np.mean(waits[5:]):.2f} ms", "0")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="+")
    files = parser.parse_args().files
    print(f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}")
    data = Data.model_validate({"sources": [{"type": "jsonl", "path": path} for path in files]})
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        start = time.perf_counter()
        prepare(data, folder / "data", seed=0)
        row("prepare, from files to shards", f"{time.perf_counter() - start:.1f} s", "-")
        bench_streams(folder / "data")
        bench_waiting(folder / "data")
        corpus = Corpus.open(folder / "data")
        texts = {d: [t for split in ("train", "validation", "test") for t in corpus.show(d, 10**9, split)]
                 for d in corpus.domains}
        flat = [text for of_domain in texts.values() for text in of_domain]
        label_N = np.repeat(np.arange(len(texts)), [len(of_domain) for of_domain in texts.values()])
        tokens_N = np.array([len(ids) + 1 for ids in corpus.tokenizer.encode_batch(flat)])
        bench_clusters(flat, label_N, tokens_N)
        bench_tokenising(files, flat, folder)


if __name__ == "__main__":
    main()
