"""What a person reads of a law, a plan and a prediction, from the values that `--json` prints."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from splitjax.config import format_count


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
    lines.append(f"\n{told['n']} rows, objective {told['objective']:.8g}, R² {told['r2']:.4f}")
    if told["holdout"]:
        kept = told["holdout"]
        lines.append(f"Rows kept out: {kept['n']}, mean relative error {kept['mre']:.2%}, R² {kept.get('r2', 0):.4f}")
    return "\n".join([*lines, *told["notes"]])


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
        lines.append(f"  {name:<20}{_baseline(base, told)}")
    if next_one := told.get("next_run"):
        lines.append(
            f"Next run: N = {format_count(next_one['n_params'])}, D = {format_count(next_one['d_pretrain'])}, "
            f"D' = {format_count(next_one['d_special'])} ({next_one['flops']:.2g} FLOPs): standard deviation of the "
            f"split {next_one['sd_before']:.1%} → {next_one['sd_after']:.1%}"
        )
    return "\n".join([*lines, *told["notes"]])


def run_plan_text(told: Mapping[str, Any]) -> str:
    """The plan of a run, which may come from its config and not from a law."""
    if "interval" not in told:
        return (f"Split at {told['split_fraction']:.1%}, as the config says: D = {format_count(told['d_pretrain'])}, "
                f"D' = {format_count(told['d_special'])} each")
    return plan_text(told)


def one_model_text(told: Mapping[str, Any]) -> str:
    """What a law without D' says of a budget."""
    first = f"One model: N = {_size(told)}, T = {format_count(told['tokens'])}"
    loss = "Predicted loss {:.4f} ({:.4f} to {:.4f})".format(told["predicted_loss"], *told["loss_interval"])
    return "\n".join([first, f"{loss} by {told['family']}", *_others(told), *told["notes"]])


def prediction_text(told: Mapping[str, Any]) -> str:
    """One loss."""
    loss = "Predicted loss {:.4f} ({:.4f} to {:.4f})".format(told["predicted_loss"], *told["interval"])
    of = f" of {told['domain']}" if told["domain"] else ""
    where = f"N = {format_count(told['n_params'])}, D = {format_count(told['d_pretrain'])}"
    if told["d_special"]:
        where += f", D' = {format_count(told['d_special'])}"
    return "\n".join([f"{loss}{of} at {where}, by {told['family']}", *_others(told), *told["notes"]])


def _decision(told: Mapping[str, Any]) -> str:
    guess = f"best guess {told['split_fraction']:.1%}"
    beaten = {name: base["beaten"] for name, base in told["baselines"].items() if base["beaten"] is not None}
    rival = min(beaten, key=lambda name: beaten[name], default="")
    words = {
        "explicit": f"Split at {told['split_fraction']:.1%}, as the config says "
                    f"(the law: {told.get('law_split_fraction') or 0:.1%})",
        "split": f"Split at {told['split_fraction']:.1%}", "never_split": "Never split: train one model",
        "split_at_once": "Split at once: experts from step 0", "undetermined": f"Undetermined ({guess})",
        "beaten": f"{guess.capitalize()}, but {rival} is better in {1 - beaten.get(rival, 1):.0%} of draws",
    }
    return words[told["decision"]]


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
    text = f"{base['predicted_loss']:.4f}"
    if base["beaten"] is not None:
        text += f"  worse than the split in {base['beaten']:.0%} of draws"
    return text
