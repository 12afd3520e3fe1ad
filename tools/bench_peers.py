"""splitjax beside Hugging Face + PyTorch and beside a plain JAX loop: same shapes, same machine, one run.

    python tools/bench_peers.py CONFIG [dotted.key=value ...] [--models 310M,1.3B] [--batches 8,16] [--rounds 3]

Needs the hf extra and torch. Each measurement is a process of its own, and the contenders take turns, round by round,
so that a noisy machine is noisy to all; the best step of all rounds counts, after steps that compile and tune. Each
contender keeps its best batch size; one that fails (for want of memory, say) has no figure there. The peers attend over
whole windows, which is less work than splitjax's document mask. Prints a markdown table. On a GPU:

    python tools/bench_peers.py configs/bench/gpu_2048.yaml --models 122M,310M,1.3B,2.7B,7B --batches 4,8,16,32
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from typing import Any, NamedTuple

from peers import apart

CONTENDERS = ("splitjax", "torch compile", "torch eager", "plain jax")
CEILING = "matmul ceiling"


class Case(NamedTuple):
    """A model (None: the config's own) at a batch size (None: likewise)."""

    model: str | None
    batch: int | None

    def overrides(self) -> list[str]:
        # A plain Llama with one matrix for embedding and head, as the peers are.
        model = [f"model={{preset: {self.model}, qk_norm: false, tied_embeddings: true}}"] if self.model else []
        return model + ([f"train.batch_size={self.batch}"] if self.batch else [])


def main() -> int:
    args = _arguments().parse_intermixed_args()
    if args.one:
        print(json.dumps(_measure(args.one, args)))
        return 0
    cases = [Case(model, batch) for model in args.models for batch in args.batches]
    seconds: dict[tuple[Case, str], float] = {}
    ceiling = _in_own_process(CEILING, Case(None, None))
    assert ceiling is not None
    for turn in range(args.rounds):
        for case in cases:
            for name in CONTENDERS:
                found = _in_own_process(name, case)
                if found is not None:
                    seconds[case, name] = min(found, seconds.get((case, name), found))
                told = "no figure" if found is None else f"{found * 1e3:.0f} ms a step"
                print(f"round {turn + 1}: {' '.join(case.overrides())} {name} {told}", file=sys.stderr)
    print(_table(seconds, ceiling, args))
    return 0


def _arguments() -> argparse.ArgumentParser:
    def several(kind: Any) -> Any:
        return lambda text: [kind(word) for word in text.split(",")]

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config")
    parser.add_argument("overrides", nargs="*")
    parser.add_argument("--models", type=several(str), default=[None], help="presets, with commas (default: its own)")
    parser.add_argument("--batches", type=several(int), default=[None], help="batch sizes, with commas")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=8, help="steps a round")
    parser.add_argument("--one", choices=[*CONTENDERS, CEILING], help=argparse.SUPPRESS)
    return parser


def _in_own_process(name: str, case: Case) -> float | None:
    command = [sys.executable, __file__, *sys.argv[1:], *case.overrides(), "--one", name]
    done = subprocess.run(command, capture_output=True, text=True, env=apart.environment())
    if done.returncode:
        print(f"{name} failed: {(done.stderr.strip().splitlines() or ['?'])[-1][:300]}", file=sys.stderr)
        return None
    return float(json.loads(done.stdout.splitlines()[-1]))


def _measure(name: str, args: argparse.Namespace) -> float:
    """Seconds of the fastest training step of one contender; of the ceiling: FLOP/s."""
    from splitjax.config import load

    config = load(args.config, args.overrides)
    model, train = config.model, config.train
    if name in (CEILING, "splitjax"):
        from splitjax.parallel import keep_freed_memory
        from splitjax.planning.bench import Runner, matmul_ceiling

        keep_freed_memory()
        if name == CEILING:
            return matmul_ceiling(train.precision)
        run = Runner.of(config)
        run.steps(2)
        return min(run.seconds(1) for _ in range(args.steps))
    shape = {
        "vocab": config.data.tokenizer.vocab_size, "width": model.d_model, "ffn": model.width_of_ffn,
        "layers": model.n_layers, "heads": model.n_heads, "batch": train.batch_size, "seq": train.seq_len,
    }
    if name == "plain jax":
        from peers import plain_jax

        return plain_jax.measure(shape, train.precision, args.steps)
    from peers import torch_llama

    return min(torch_llama.measure(shape, train.precision, args.steps, compiled=name == "torch compile"))


def _table(seconds: dict[tuple[Case, str], float], ceiling: float, args: argparse.Namespace) -> str:
    from splitjax.config import load
    from splitjax.model import flops_per_token
    from splitjax.runs import provenance

    lines = [
        "| model | | batch | ms a step | tokens/s | of the matmul ceiling | against the best PyTorch |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for name in args.models:
        best: dict[str, tuple[float, str]] = {}
        for (case, contender), step in seconds.items():
            if case.model == name:
                config = load(args.config, [*args.overrides, *case.overrides()])
                train, vocab = config.train, config.data.tokenizer.vocab_size
                rate = train.batch_size * train.seq_len / step
                share = rate * flops_per_token(config.model, vocab, train.seq_len) / ceiling
                row = f"{train.batch_size} | {step * 1e3:.0f} | {rate:,.0f} | {share:.0%}"
                best[contender] = max(best.get(contender, (0.0, "")), (rate, row))
        peers = [rate for contender, (rate, _) in best.items() if contender.startswith("torch")]
        for contender, (rate, row) in sorted(best.items(), key=lambda item: -item[1][0]):
            ratio = f"{rate / max(peers):.2f}" if peers else "-"
            lines.append(f"| {name or config.name} | {contender} | {row} | {ratio} |")
    made = provenance.of(" ".join(["python", "tools/bench_peers.py", *sys.argv[1:]]))
    train = load(args.config, args.overrides).train
    note = f"{train.precision}, {train.seq_len} tokens a window; matmul ceiling {ceiling / 1e12:.3g} TFLOP/s"
    return "\n".join([*lines, "", f"{note}; {made['devices']}; {made['hardware']}; commit {made['commit']};",
                      f"`{made['command']}`"])


if __name__ == "__main__":
    raise SystemExit(main())
