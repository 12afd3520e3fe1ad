r"""One card in one command: models of several sizes, experts stacked and one after another, and torch.compile beside.

    python tools/bench_card.py
    python tools/bench_card.py --recipe 1.3B=8,none --recipe 122M=32,none --windows single
    python tools/bench_card.py --rows 122M,torch --minutes 3

Every row is measured in a process of its own, one at a time, and printed as soon as it is there. A row that fails says
why in a word; once --minutes are over the rows that are left are named and left out. A step's time is the median of
groups of two steps, after steps that compile and tune. "serial" is K times the step of one expert, "one" a model at as
many windows as the stack has, "torch" Hugging Face's Llama under torch.compile with SDPA and no mask between documents.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shlex
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from peers import apart, windows

RECIPES = {"122M": "16,none", "310M": "16,none", "1.3B": "8,none", "2.7B": "4,dots_no_batch"}
"""Windows a step and train.remat of one model alone; what is not here has 8 windows without remat."""
COLUMNS = ("row", "windows", "ms a step", "tokens/s", "MFU", "memory", "to one model", "to serial", "to torch")
TOGETHER = 2
"""Steps that are waited for as one, as in training."""


class Row(NamedTuple):
    """One measurement: `experts` stacks of a model at `batch` windows each, stepped `times` to count as one step."""

    key: str
    label: str
    model: str
    batch: int
    remat: str
    experts: int = 1
    times: int = 1

    @property
    def windows(self) -> int:
        return self.experts * self.times * self.batch


Figures = dict[str, Any]
"""seconds of a step, peak_bytes and device of a row's process; or `failed`: why there are none."""
CEILING = "ceiling"


def main() -> int:
    args = arguments()
    if args.one:
        print(json.dumps(measure(args.one, args)))
        return 0
    start = time.monotonic()
    rows = [row for row in rows_of(args) if args.rows is None or row.key in args.rows]
    if unknown := set(args.rows or ()) - {row.key for row in rows}:
        sys.exit(f"no row {', '.join(sorted(unknown))}; these are: {', '.join(row.key for row in rows_of(args))}")
    card = in_own_process(CEILING, 60 * args.minutes)
    if "failed" in card:
        sys.exit(f"no product could be measured here: {card['failed']}")
    print(f"| {' | '.join(COLUMNS)} |\n|{' --- |' * len(COLUMNS)}", flush=True)
    found = table(rows, args, card, in_own_process, end=start + 60 * args.minutes)
    for line in footer(found, rows, args, card):
        print(line)
    return 0 if any("seconds" in each for each in found.values()) else 1


def arguments(words: list[str] | None = None) -> argparse.Namespace:
    def several(text: str) -> list[str]:
        return [word for word in text.split(",") if word]

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("overrides", nargs="*", help="dotted.key=value, for all rows")
    parser.add_argument("--config", default="configs/bench/gpu_2048.yaml")
    parser.add_argument("--models", type=several, default=["1.3B", "310M", "2.7B"], help="presets, one model each")
    parser.add_argument("--expert", default="122M", help="preset of the stack, and of the row beside torch")
    parser.add_argument("--experts", type=int, default=8)
    parser.add_argument("--each", type=int, default=4, help="windows an expert and step")
    parser.add_argument("--recipe", action="append", default=[], metavar="MODEL=WINDOWS[,REMAT]",
                        help=f"of one model alone (default: {RECIPES})")
    parser.add_argument("--stack-remat", default="none", help="train.remat of stacked, serial and one")
    parser.add_argument("--windows", choices=windows.FORMS, default="documents", help="what windows hold")
    parser.add_argument("--mean-length", type=float, default=700, help="tokens a document")
    parser.add_argument("--spread", type=float, default=1.0, help="standard deviation of the logarithm of a length")
    parser.add_argument("--rows", type=several, help="only these, with commas")
    parser.add_argument("--steps", type=int, default=8, help="timed steps a row")
    parser.add_argument("--minutes", type=float, default=8.0, help="when to stop")
    parser.add_argument("--commit", help="its name, where the code lies in no git checkout")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    return parser.parse_intermixed_args(words)


def rows_of(args: argparse.Namespace) -> list[Row]:
    """All rows, the most important first; what a ratio is to stands before the row that has it."""
    told = RECIPES | dict(word.split("=", 1) for word in args.recipe)

    def alone(key: str, model: str, label: str) -> Row:
        batch, _, remat = told.get(model, "8").partition(",")
        return Row(key, label, model, int(batch), remat or "none")

    name, K, B, remat = args.expert, args.experts, args.each, args.stack_remat
    models = [alone(model, model, model) for model in args.models if model != name]
    return [
        *models[:1],
        alone("torch", name, f"torch.compile, {name}"),
        alone(name, name, name),
        Row("one", f"one {name}", name, K * B, remat),
        Row("serial", f"{K} x {name}, one after another", name, B, remat, times=K),
        Row("stacked", f"{K} x {name}, stacked", name, B, remat, experts=K),
        *models[1:],
    ]


def table(
    rows: list[Row], args: argparse.Namespace, card: Figures, measured: Callable[[str, float], Figures], *, end: float,
    clock: Callable[[], float] = time.monotonic,
) -> dict[str, Figures]:
    """Measure the rows in order and print each; what is not reached in time is not in the result.

    Args:
        card: `ceiling` and `mfu_of` in FLOP/s.
        measured: figures of the row of a key within so many seconds.
        end: of the time, as `clock` tells it.
    """
    found: dict[str, Figures] = {}
    for row in rows:
        ours = [each for each in rows if each.key in found and "torch" not in (each.key, row.key)]
        same = [each for each in ours if each[2:] == row[2:]]
        left = end - clock()
        if not same and left <= 0:
            break
        found[row.key] = found[same[0].key] if same else measured(row.key, left)
        print(f"| {' | '.join(cells(row, found, args, card['mfu_of']))} |", flush=True)
    return found


def cells(row: Row, found: Mapping[str, Figures], args: argparse.Namespace, mfu_of: float) -> list[str]:
    """A line of the table; ratios are to what has been found."""
    figures = found[row.key]
    if "failed" in figures:
        return [row.label, str(row.windows), figures["failed"], *[""] * (len(COLUMNS) - 3)]
    from splitjax.model import flops_per_token

    config = config_of(row, args)
    seq, vocab = config.train.seq_len, config.data.tokenizer.vocab_size

    def rate(of: Row) -> float:
        return of.windows * seq / (found[of.key]["seconds"] * of.times)

    def to(key: str) -> str:
        base = next(each for each in rows_of(args) if each.key == key)
        return f"{rate(row) / rate(base):.2f}" if "seconds" in found.get(key, {}) else ""

    mfu = rate(row) * flops_per_token(config.model, vocab, seq) / mfu_of
    return [
        row.label, str(row.windows), f"{figures['seconds'] * row.times * 1e3:.1f}", f"{rate(row):,.0f}", f"{mfu:.1%}",
        f"{figures['peak_bytes'] / 2**30:.1f} GiB",
        *((to("one"), to("serial")) if row.key == "stacked" else ("", "")),
        to("torch") if row.key == args.expert else "",
    ]


def footer(found: Mapping[str, Figures], rows: list[Row], args: argparse.Namespace, card: Figures) -> list[str]:
    """What the figures were measured with, and which rows there was no time for."""
    from splitjax.runs import provenance

    left = [row.key for row in rows if row.key not in found]
    train = config_of(rows[0], args).train
    documents = f"documents of {args.mean_length:g} tokens (spread {args.spread:g})"
    text = [
        f"{train.precision}, {train.seq_len} tokens a window, "
        + (documents if args.windows == "documents" else "one document each"),
        f"MFU, of whole causal windows, over {card['mfu_of'] / 1e12:.4g} TFLOP/s",
        f"matmul ceiling {card['ceiling'] / 1e12:.4g} TFLOP/s",
        *dict.fromkeys(each["device"] for each in (card, *found.values()) if "device" in each),
        provenance.hardware(), f"commit {args.commit or provenance.commit()}",
        f"`{shlex.join(['python', 'tools/bench_card.py', *sys.argv[1:]])}`",
    ]
    late = [f"Left out, for --minutes {args.minutes:g} were over: {', '.join(left)}."] if left else []
    return ["", *late, "; ".join(text)]


def config_of(row: Row, args: argparse.Namespace) -> Any:
    from splitjax.config import load

    # A plain Llama with one matrix for embedding and head, as torch's is.
    model = f"model={{preset: {row.model}, qk_norm: false, tied_embeddings: true}}"
    return load(args.config, [model, f"train.batch_size={row.batch}", f"train.remat={row.remat}", *args.overrides])


def in_own_process(key: str, seconds: float) -> Figures:
    """Figures of a row, by a process that is ended with all that it started once the time is over."""
    command = [sys.executable, __file__, *sys.argv[1:], "--one", key]
    pipe = subprocess.PIPE
    child = subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, env=apart.environment(), process_group=0)
    try:
        out, told = child.communicate(timeout=seconds)
    except BaseException as error:
        os.killpg(child.pid, signal.SIGKILL)
        child.wait()
        if isinstance(error, subprocess.TimeoutExpired):
            return {"failed": "out of time"}
        raise
    if child.returncode == 0:
        return dict(json.loads(out.splitlines()[-1]))
    print(f"{key}: {told[-2000:]}", file=sys.stderr, flush=True)
    return {"failed": why(told, child.returncode)}


def why(stderr: str, code: int) -> str:
    """A failure in a few words, from what the process said last."""
    if any(word in stderr for word in ("RESOURCE_EXHAUSTED", "OutOfMemoryError", "out of memory")) or code == -9:
        return "does not fit"
    last = (stderr.strip().splitlines() or [f"exit code {code}"])[-1]
    return f"failed: {last[:100]}".replace("|", "/")


def measure(key: str, args: argparse.Namespace) -> Figures:
    """Figures of a row, in this process."""
    if key == CEILING:
        return of_card(args)
    row = next(row for row in rows_of(args) if row.key == key)
    return of_torch(row, args) if key == "torch" else ours(row, args)


def of_card(args: argparse.Namespace) -> Figures:
    import jax

    from splitjax.parallel import chip_of
    from splitjax.planning.bench import matmul_ceiling

    kind = jax.devices()[0].device_kind
    chip, ceiling = chip_of(kind), matmul_ceiling(config_of(rows_of(args)[0], args).train.precision)
    return {
        "device": f"{jax.device_count()} × {kind}, jax {jax.__version__}", "ceiling": ceiling,
        "mfu_of": chip.flops if chip else ceiling,
    }


def ours(row: Row, args: argparse.Namespace) -> Figures:
    from splitjax.parallel import keep_freed_memory
    from splitjax.planning.bench import Runner
    from splitjax.runs import program_cache

    keep_freed_memory()
    program_cache.use()
    config = config_of(row, args)
    shape = (row.experts, row.batch, config.train.seq_len + 1)
    tokens_KBT = windows.draw(
        args.windows, shape, config.data.tokenizer.vocab_size, mean_length=args.mean_length, spread=args.spread
    )
    run = Runner.of(config, row.experts, tokens_KBT)
    run.steps(2)
    groups = [run.seconds(TOGETHER) / TOGETHER for _ in range(max(args.steps // TOGETHER, 1))]
    return {"seconds": statistics.median(groups), "peak_bytes": run.peak_bytes()}


def of_torch(row: Row, args: argparse.Namespace) -> Figures:
    import torch
    from peers import torch_llama

    config = config_of(row, args)
    model, train = config.model, config.train
    shape = {
        "vocab": config.data.tokenizer.vocab_size, "width": model.d_model, "ffn": model.width_of_ffn,
        "layers": model.n_layers, "heads": model.n_heads, "batch": row.batch, "seq": train.seq_len,
    }
    groups = torch_llama.measure(shape, train.precision, args.steps, compiled=True, together=TOGETHER)
    # ru_maxrss is in KiB on Linux.
    peak = torch_llama.peak_bytes() or resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return {"seconds": statistics.median(groups), "peak_bytes": peak, "device": f"torch {torch.__version__}"}


if __name__ == "__main__":
    raise SystemExit(main())
