"""What a person reads of a law, a plan and a prediction, from what `--json` prints; and while a law is fitted."""

from __future__ import annotations

import sys
import textwrap
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import Any

from splitjax.config import format_count

WIDTH = 80
QUIET_SECONDS = 4.0
"""Less than the 5 s within which a person wants to hear something."""


def fit_text(told: Mapping[str, Any]) -> str:
    """Parameters, families, errors, notes."""
    lines = [f"{told['family']}: L = {told['formula']}", ""]
    if told["parameters_of"] != told["family"]:
        first = told["families"][0]
        lines += [f"{first['family']}: L = {first['formula']}", ""]
    for name, value in told["parameters"].items():
        interval = told["intervals"].get(name)
        values = value if isinstance(value, dict) else {"": value}
        for domain, number in values.items():
            pair = interval[domain] if isinstance(interval, dict) else interval
            spread = f"   90 % {pair[0]:.4g} to {pair[1]:.4g}" if pair else ""
            lines.append(f"  {name + (f'[{domain}]' if domain else ''):<24}{number:>12.4g}{spread}")
    lines += ["", f"  {'family':<16}{'weight':>7}{'parameters':>12}{'train mre':>11}{'held-out mre':>14}{'starts':>9}"]
    for family in told["families"]:
        held, starts = family["heldout"] or {}, family["starts"]
        lines.append(
            f"  {family['family']:<16}{told['weights'].get(family['family'], 0):>7.0%}{family['n_parameters']:>12}"
            f"{family['mre']:>10.2%} "
            f"{held.get('mre', float('nan')):>8.2%} ±{held.get('se', float('nan')):>4.1%}"
            f"{starts['agree']:>5}/{starts['of']}{'  ridge' if family['ridge'] else ''}"
        )
    lines += ["", f"{told['n']} rows, objective {told['objective']:.8g}, R² {told['r2']:.4f}"]
    if told["holdout"]:
        kept = told["holdout"]
        lines.append(f"Rows kept out: {kept['n']}, mean relative error {kept['mre']:.2%}, R² {kept.get('r2', 0):.4f}")
    return _wrapped([*lines, *told["notes"]])


def plan_text(told: Mapping[str, Any]) -> str:
    """The decision, the budget, the loss, what it is compared with, notes."""
    low, high = told["interval"]
    flat = told["flat_region"]
    lines = [
        f"{_decision(told)}; 90 % interval {low:.1%} to {high:.1%}; "
        f"splits between {flat[0]:.1%} and {flat[1]:.1%} cannot be told from it",
        f"N = {_size(told)}, T = {format_count(told['tokens'])} ({told['accounting']}), "
        f"{told['experts']} experts: D = {format_count(told['d_pretrain'])}, "
        f"D' = {format_count(told['d_special'])} each",
        "Predicted loss {:.4f} ({:.4f} to {:.4f})".format(told["predicted_loss"], *told["loss_interval"]),
    ]
    for name, base in told["baselines"].items():
        lines.append(f"  {_rival(name):<22}{_baseline(base, told)}")
    if next_one := told.get("next_run"):
        lines.append(
            f"Next run: N = {format_count(next_one['n_params'])}, D = {format_count(next_one['d_pretrain'])}, "
            f"D' = {format_count(next_one['d_special'])} ({next_one['flops']:.2g} FLOPs): standard deviation of the "
            f"split {next_one['sd_before']:.1%} → {next_one['sd_after']:.1%}"
        )
    if proposed := told.get("proposed"):
        lines += proposal_text(proposed).splitlines()
    return _wrapped([*lines, *told["notes"]])


def proposal_text(told: Mapping[str, Any]) -> str:
    """Small runs, one a line."""
    head = (
        f"{len(told['cells'])} small runs for {told['flops']:.3g} FLOPs, {told['share']:.1%} of the main run: standard "
        f"deviation of the split {told['sd_before']:.1%} → {told['sd_after']:.1%}"
    )
    names = ("n_params", "d_pretrain", "d_special")
    rows = [f"{cell:>14}" for cell in ("N", "D", "D' each")]
    lines = ["".join(rows)]
    for cell in told["cells"]:
        lines.append("".join(f"{format_count(round(cell[name])):>14}" for name in names))
    return _wrapped([head, *lines])


def run_plan_text(told: Mapping[str, Any]) -> str:
    """The plan of a run, which may come from its config and not from a law."""
    if "interval" not in told:
        return _wrapped([f"Split at {told['split_fraction']:.1%}, as the config says: "
                         f"D = {format_count(told['d_pretrain'])}, D' = {format_count(told['d_special'])} each"])
    return plan_text(told)


def one_model_text(told: Mapping[str, Any]) -> str:
    """What a law without D' says of a budget."""
    first = f"One model: N = {_size(told)}, T = {format_count(told['tokens'])}"
    loss = "Predicted loss {:.4f} ({:.4f} to {:.4f})".format(told["predicted_loss"], *told["loss_interval"])
    return _wrapped([first, f"{loss} by {told['family']}", *_others(told), *told["notes"]])


def prediction_text(told: Mapping[str, Any]) -> str:
    """One loss."""
    loss = "Predicted loss {:.4f} ({:.4f} to {:.4f})".format(told["predicted_loss"], *told["interval"])
    of = f" of {told['domain']}" if told["domain"] else ""
    where = f"N = {format_count(told['n_params'])}, D = {format_count(told['d_pretrain'])}"
    if told["d_special"]:
        where += f", D' = {format_count(told['d_special'])}"
    return _wrapped([f"{loss}{of} at {where}, by {told['family']}", *_others(told), *told["notes"]])


def _wrapped(lines: Sequence[str]) -> str:
    """Sentences at the width of the tables; what is indented stands as it is."""
    return "\n".join(
        line if line.startswith(" ") else textwrap.fill(line, WIDTH, break_long_words=False, break_on_hyphens=False)
        for line in lines
    )


def _decision(told: Mapping[str, Any]) -> str:
    guess = f"best guess {told['split_fraction']:.1%}"
    beaten = {name: base["beaten"] for name, base in told["baselines"].items() if base["beaten"] is not None}
    rival = min(beaten, key=lambda name: beaten[name], default="")
    words = {
        "explicit": f"Split at {told['split_fraction']:.1%}, as the config says "
                    f"(the law: {told.get('law_split_fraction') or 0:.1%})",
        "split": f"Split at {told['split_fraction']:.1%}", "never_split": "Never split: train one model",
        "split_at_once": "Split at once: experts from step 0", "undetermined": f"Undetermined ({guess})",
        "beaten": f"{guess.capitalize()}, but {_rival(rival)} is better in {1 - beaten.get(rival, 1):.0%} of draws",
    }
    return words[told["decision"]]


def _rival(name: str) -> str:
    from splitjax.law.splitting.limits import words  # numpy and scipy come with it

    return words(name)


def _size(told: Mapping[str, Any]) -> str:
    size = format_count(told["n_params"])
    if interval := told.get("n_params_interval"):
        size += f" ({format_count(interval[0])} to {format_count(interval[1])})"
    return size


def _others(told: Mapping[str, Any]) -> list[str]:
    """Each family's own word, where several are combined."""
    by_family = told["by_family"]
    if len(by_family) < 2:
        return []
    return [
        "  {:<16}{:.4f} ({:.4f} to {:.4f})".format(name, each["predicted_loss"], *each["interval"])
        for name, each in by_family.items()
    ]


def _baseline(base: Mapping[str, Any], told: Mapping[str, Any]) -> str:
    """The loss, and how often the split is better."""
    if base["predicted_loss"] is None:
        return f"not predicted by {told['family']}"
    text = "beyond its runs" if base.get("beyond") else f"{base['predicted_loss']:.4f}"
    if base["beaten"] is not None:
        text += f"  worse than the split in {base['beaten']:.0%} of draws"
    return text


class Told:
    """Lines on standard error; while it is open none of its silences is longer than a few seconds.

    Args:
        clock: seconds; injected so that tests need not sleep.
    """

    def __init__(self, quiet: bool = False, clock: Callable[[], float] = time.monotonic) -> None:
        self._quiet, self._clock = quiet, clock
        self._lock, self._closing = threading.Lock(), threading.Event()
        self._what, self._since, self._last = "", clock(), clock()
        self._thread = threading.Thread(target=self._beat, daemon=True)

    def __enter__(self) -> Told:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._closing.set()
        self._thread.join()

    def now(self, what: str) -> None:
        """What is done from here on; told only if it takes long."""
        with self._lock:
            self._what, self._since = what, self._clock()

    def step(self, done: int, total: int, what: str) -> None:
        """A step has ended: what `law.fit` takes as its `progress`."""
        self._say(f"[{done}/{total}] {what}")
        left = "family" if done < total - 1 else "draws"
        self.now(f"[{done}/{total}] the next {left}" if done < total else "scores and notes")

    def beat(self) -> None:
        """Say what is done now, if nothing was said for long."""
        if self._clock() - self._last >= QUIET_SECONDS and self._what:
            self._say(f"{self._what}: {self._clock() - self._since:.0f} s so far")

    def _say(self, text: str) -> None:
        with self._lock:
            self._last = self._clock()
            if not self._quiet:
                try:
                    print(text, file=sys.stderr, flush=True)
                except (OSError, ValueError):  # nobody reads: no reason to stop
                    self._quiet = True

    def _beat(self) -> None:
        while not self._closing.wait(0.5):
            self.beat()
