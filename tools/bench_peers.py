"""splitjax beside Hugging Face + PyTorch and beside a plain JAX loop: same shape, same machine, one run.

    python tools/bench_peers.py configs/bench/cpu_5m8.yaml [dotted.key=value ...] [--rounds 3] [--steps 8]

Needs the hf extra (torch, transformers). Each measurement is a process of its own, and the contenders take turns,
round by round, so that a noisy machine is noisy to all; the best step of all rounds counts. The peers attend over
whole windows, which is less work than splitjax's document mask. Prints a markdown table.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path

CONTENDERS = ("splitjax", "torch compile", "torch eager", "plain jax")


def main() -> int:
    args = _arguments().parse_args()
    if args.one:
        print(json.dumps(_measure(args.one, args)))
        return 0
    best: dict[str, float] = {}
    for turn in range(args.rounds):
        for name in CONTENDERS:
            seconds = _in_own_process(name)
            best[name] = min(seconds, best.get(name, seconds))
            print(f"round {turn + 1}: {name} {seconds * 1e3:.0f} ms a step", file=sys.stderr)
    print(_table(best, args))
    return 0


def _arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config")
    parser.add_argument("overrides", nargs="*")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=8, help="steps a round")
    parser.add_argument("--one", choices=CONTENDERS, help=argparse.SUPPRESS)
    return parser


def _in_own_process(name: str) -> float:
    command = [sys.executable, __file__, *sys.argv[1:], "--one", name]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{name} failed:\n{done.stderr[-2000:]}")
    return float(json.loads(done.stdout.splitlines()[-1]))


def _measure(name: str, args: argparse.Namespace) -> float:
    """Seconds of the fastest training step of one contender."""
    from splitjax.config import load

    config = load(args.config, args.overrides)
    model, train = config.model, config.train
    if name == "splitjax":
        from splitjax.pipeline.bench import Runner

        run = Runner.of(config)
        run.steps(2)
        return min(run.seconds(1) for _ in range(args.steps))
    shape = {
        "vocab": config.data.tokenizer.vocab_size, "width": model.d_model, "ffn": model.width_of_ffn,
        "layers": model.n_layers, "heads": model.n_heads, "batch": train.batch_size, "seq": train.seq_len,
    }  # fmt: skip
    sys.path.insert(0, str(Path(__file__).parent))
    if name == "plain jax":
        from peers import plain_jax

        return plain_jax.measure(shape, train.precision, args.steps)
    from peers import torch_llama

    return torch_llama.measure(shape, train.precision, args.steps, compiled=name == "torch compile")


def _table(best: dict[str, float], args: argparse.Namespace) -> str:
    from splitjax.config import load
    from splitjax.pipeline import provenance

    config = load(args.config, args.overrides)
    tokens = config.train.batch_size * config.train.seq_len
    peer = min(seconds for name, seconds in best.items() if name.startswith("torch"))
    rows = [
        f"| {name} | {seconds * 1e3:.0f} | {tokens / seconds:,.0f} | {peer / seconds:.2f} |"
        for name, seconds in sorted(best.items(), key=lambda item: item[1])
    ]
    made = provenance.of(" ".join(["python", "tools/bench_peers.py", *sys.argv[1:]]))
    note = f"{config.name}, {config.train.precision}; {made['devices']}; {made['hardware']}; commit {made['commit']}"
    head = ["| | ms a step | tokens/s | against the best PyTorch |", "| --- | --- | --- | --- |"]
    return "\n".join([*head, *rows, "", f"{note}; `{made['command']}`"])


if __name__ == "__main__":
    raise SystemExit(main())
