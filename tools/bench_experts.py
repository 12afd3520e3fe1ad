r"""Aggregate tokens/s of K experts: stacked, one after another, and each in a process of its own.

    python tools/bench_experts.py --experts 1 2 4 8
    python tools/bench_experts.py --d-model 768 --layers 12 --heads 12 --ffn 2048 --windows 64 --seq 1024 \\
        --precision bfloat16

Every row trains on the same number of windows a step over all experts (--windows), so each expert has windows / K; the
row K = 1 is one model at the same total batch. Each measurement is a fresh process: its peak memory is its own. "first"
is from a checkpoint on disk to the end of the first expert step, compile included. The best of --repeats counts. On a
processor the forms of a K take their repeats in turn; on a card, whose memory they would share, one form goes after the
other.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from peers import apart

from splitjax import accelerator_in_sight

FORMS = ("serial", "stacked", "separate")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--experts", type=int, nargs="+", default=[1, 2, 4, 8], help="values of K")
    parser.add_argument("--forms", nargs="+", choices=FORMS, default=list(FORMS))
    loops = ("auto", "vmap", "scan", "dispatch")
    parser.add_argument("--loop", choices=loops, default="auto", help="train.expert_loop")
    parser.add_argument("--windows", type=int, default=16, help="windows a step over all experts")
    parser.add_argument("--seq", type=int, default=256, help="tokens a window")
    parser.add_argument("--d-model", type=int, default=256)
    parser.add_argument("--layers", type=int, default=6)
    parser.add_argument("--heads", type=int, default=4)
    parser.add_argument("--ffn", type=int, default=688)
    parser.add_argument("--vocab", type=int, default=4096)
    parser.add_argument("--precision", choices=("float32", "bfloat16"), default="float32")
    parser.add_argument("--steps", type=int, default=4, help="steps a repeat")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--child", help=argparse.SUPPRESS)
    return parser.parse_args()


def main() -> None:
    args = arguments()
    if args.child:
        child(args, **json.loads(args.child))
        return
    from splitjax.runs import provenance

    print(f"commit {provenance.commit()}, {provenance.hardware()}, {' '.join(sys.argv)}\n")
    print("| K | form | device | tokens/s | to one model | to one after another | peak MB | first (s) |")
    print("|---|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        one_model = None
        for k in args.experts:
            forms = [form for form in FORMS if form in args.forms] if k > 1 else ["stacked"]
            made = compare(args, k, forms, folder)
            one_model = made["stacked"]["tokens_per_s"] if k == 1 else one_model
            for form in forms:
                serial = made.get("serial", {}).get("tokens_per_s")
                print(row(k, form, made[form], one_model, serial), flush=True)


def row(k: int, form: str, made: dict[str, Any], one_model: float | None, serial: float | None) -> str:
    def ratio(base: float | None) -> str:
        return f"{made['tokens_per_s'] / base:.2f}" if base else ""

    return (
        f"| {k} | {form} | {made['device']} | {made['tokens_per_s']:,.0f} | {ratio(one_model)} | {ratio(serial)} "
        f"| {made['peak_mb']:,.0f} | {made['first']:.1f} |"
    )


def compare(args: argparse.Namespace, k: int, forms: Sequence[str], folder: str) -> dict[str, dict[str, Any]]:
    """All forms of one K, their repeats taken in turn: a machine that slows down slows all of them down.

    A card is no such machine, and has no room for all of them: there one form ends before the next begins.
    """
    if accelerator_in_sight() and len(forms) > 1:
        return {form: compare(args, k, [form], folder)[form] for form in forms}
    groups = {form: [Child(args, k, form, folder) for _ in range(k if form == "separate" else 1)] for form in forms}
    for _ in range(args.repeats):
        for children in groups.values():
            for one in children:
                one.go()
            for one in children:
                one.took()
    return {form: summary(args, [one.end() for one in children]) for form, children in groups.items()}


def summary(args: argparse.Namespace, made: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "tokens_per_s": args.steps * sum(one["step_tokens"] / min(one["seconds"]) for one in made),
        "peak_mb": sum(one["peak_mb"] for one in made),
        "first": max(one["first"] for one in made),
        "device": made[0]["device"],
    }


class Child:
    """A process that holds one form ready and runs a repeat when told."""

    def __init__(self, args: argparse.Namespace, k: int, form: str, folder: str) -> None:
        task = {"k": 1 if form == "separate" else k, "windows": args.windows // k, "serial": form == "serial"}
        command = [sys.executable, *sys.argv, "--child", json.dumps(task | {"folder": folder})]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=apart.environment()
        )
        self._facts = self._answer()
        self._seconds: list[float] = []

    def go(self) -> None:
        assert self._process.stdin
        self._process.stdin.write("go\n")
        self._process.stdin.flush()

    def took(self) -> None:
        self._seconds.append(self._answer()["seconds"])

    def end(self) -> dict[str, Any]:
        peak = json.loads(self._process.communicate()[0])
        return self._facts | peak | {"seconds": self._seconds}

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout
        line = self._process.stdout.readline()
        if not line:
            sys.exit("a measurement died; its message stands above")
        return json.loads(line)


def child(args: argparse.Namespace, k: int, windows: int, serial: bool, folder: str) -> None:
    """Prepare, then one timed repeat for each line of input."""
    import jax
    import numpy as np

    from splitjax import config
    from splitjax.model import LanguageModel
    from splitjax.parallel import keep_freed_memory
    from splitjax.train import Trainer, checkpoint, starts, working

    keep_freed_memory()
    shape = config.Model(d_model=args.d_model, n_layers=args.layers, n_heads=args.heads, d_ff=args.ffn)
    train = config.Train(seq_len=args.seq, batch_size=windows, expert_loop=args.loop, precision=args.precision)
    trainer = Trainer(LanguageModel(shape, args.vocab, precision=args.precision, z_loss=train.z_loss), train)
    seed = checkpoint.at(Path(folder), 0)
    if not seed.exists():
        checkpoint.save(Path(folder), 0, trainer.init(0), {})
    width, rounds = (1, k) if serial else (k, 1)
    tokens = np.random.default_rng(0).integers(0, args.vocab, (width, windows, args.seq + 1), dtype=np.int32)
    batch = trainer.placement.put_batch(tokens, width, windows)
    controls = trainer.controls(np.full(width, 1e-3), windows * args.seq)

    began = time.perf_counter()
    stack, _ = starts.split(trainer, seed, width)()
    experts = working(trainer, stack)
    del stack
    metrics = experts.step(batch, controls)
    jax.block_until_ready(metrics)
    first = time.perf_counter() - began
    step_tokens = rounds * width * windows * args.seq
    print(json.dumps({"first": first, "device": jax.devices()[0].device_kind, "step_tokens": step_tokens}), flush=True)

    for _ in sys.stdin:
        began = time.perf_counter()
        for _ in range(rounds * args.steps):
            metrics = experts.step(batch, controls)
        jax.block_until_ready(metrics)
        print(json.dumps({"seconds": time.perf_counter() - began}), flush=True)
    print(json.dumps({"peak_mb": peak_bytes() / 1e6}))


def peak_bytes() -> int:
    """Peak memory of the accelerator, or of the process where the host is the device."""
    import jax

    stats = jax.local_devices()[0].memory_stats() or {}
    # ru_maxrss is in KiB on Linux.
    return stats.get("peak_bytes_in_use") or resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


if __name__ == "__main__":
    main()
