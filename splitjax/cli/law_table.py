"""Laws of anybody's table: `splitjax fit TABLE.csv …` and `splitjax plan --law law.json …`."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from typing import Any

from splitjax.config import UserError, format_count, parse_count

from . import common

COLUMNS = "n_params,d_pretrain,d_special,loss[,domain][,weight][,run][,trunk][,seed][,u_pretrain,u_special]"


def add_fit_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `splitjax fit TABLE.csv`."""
    from splitjax.law.fitting.families import FAMILIES

    group = parser.add_argument_group("of a table", f"CONFIG may be a TABLE.csv with columns {COLUMNS}")
    group.add_argument("--family", default="auto", metavar="NAME|auto", help="family, or several with commas (auto)")
    group.add_argument("--holdout", metavar='"EXPR"', help='rows kept out and scored, e.g. "d_pretrain > 64000"')
    group.add_argument("--bootstrap", type=int, default=200, metavar="n", help="draws behind the intervals (200)")
    group.add_argument("--loss", choices=("huber", "squared"), default="huber", help="what is minimised (huber)")
    group.add_argument("--domains", choices=("joint", "separate"), default="joint", help="share exponents or nothing")
    group.add_argument("--columns", metavar="OURS=THEIRS,…", help="names of columns in the file")
    group.add_argument("--loss-unit", choices=("nats", "bits"), default="nats", help="unit of the loss column (nats)")
    group.add_argument("--seed", type=int, default=0, help="of starts and draws (0)")
    group.add_argument("--profile", metavar="NAMES", help="profile likelihood of these exponents, with commas")
    group.add_argument("--out", metavar="law.json", help="write the law here")
    group.add_argument("--plot", metavar="FILE.png", help="draw observations, residuals, isolines, extrapolation")
    width = max(map(len, FAMILIES))
    formulas = "\n".join(f"  {name:<{width}}  L = {family.formula}" for name, family in FAMILIES.items())
    parser.epilog = f"{parser.epilog or ''}\nFamilies:\n{formulas}"


def fit_table(args: argparse.Namespace) -> int:
    """Fit a table; print what was found."""
    from splitjax.law import Table, fit, profile

    table = Table.read(args.config, columns=_mapping(args.columns), unit=args.loss_unit)
    law = fit(
        table, family=args.family.split(","), loss=args.loss, holdout=args.holdout, bootstrap=args.bootstrap,
        seed=args.seed, domains=args.domains, progress=None if args.json else _progress,
    )  # fmt: skip
    profiles = [profile(law, name) for name in args.profile.split(",")] if args.profile else []
    if args.out:
        law.save(args.out)
    if args.plot:
        _save(law.plot(), args.plot)
    if args.json:
        told = law.summary()
        if profiles:
            told["profiles"] = {p.parameter: p.to_json() for p in profiles}
        common.print_json(told)
        return 0
    print(_fit_text(law.summary()))
    for found in profiles:
        low, high = found.interval
        print(f"{found.parameter}: 90 % profile-likelihood interval {low:.4g} to {high:.4g}")
    print(f"Law: {args.out}" if args.out else "Add --out law.json, then: splitjax plan --law law.json --params … ")
    return 0


def add_plan_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `splitjax plan --law law.json`."""
    group = parser.add_argument_group("of any law")
    group.add_argument("--law", metavar="law.json", help="a law written by splitjax fit TABLE.csv --out law.json")
    group.add_argument("--params", metavar="N", help="non-embedding parameters, e.g. 2.7B")
    group.add_argument("--tokens", metavar="T", help="budget, e.g. 100B")
    group.add_argument("--compute", metavar="FLOPS", help="training FLOPs instead of N and T: N is chosen as well")
    group.add_argument("--experts", type=int, metavar="K", help="number of experts")
    group.add_argument("--accounting", choices=("total", "per_model"), default="total", help="what T counts (total)")
    group.add_argument("--weights", metavar="DOMAIN=w,…", help="weights of domains in the mean (all alike)")
    group.add_argument("--unique-pretrain", metavar="U", help="unique mixture tokens, for laws of repeated data")
    group.add_argument("--unique-special", metavar="U", help="unique tokens of a domain, for laws of repeated data")
    group.add_argument("--extrapolate", action="store_true", help="allow N or T over 30 times outside the fit")
    group.add_argument("--next-run", metavar="FLOPS", help="name the run within FLOPS that narrows the split most")
    group.add_argument("--plot", metavar="FILE.png", help="draw loss over the split fraction")


def plan_law(args: argparse.Namespace) -> int:
    """Pick the split by a saved law; print the decision."""
    from splitjax.law import LawFit, choose_size, next_run, plan

    law = LawFit.load(args.law)
    if args.experts is None:
        raise UserError("--experts is missing", where="splitjax plan --law")
    options: dict[str, Any] = {
        "experts": args.experts, "weights": _numbers(args.weights),
        "extrapolate": args.extrapolate, "u_pretrain": _count(args.unique_pretrain, "--unique-pretrain"),
        "u_special": _count(args.unique_special, "--unique-special"),
    }  # fmt: skip
    if args.compute:
        found = choose_size(law, _count(args.compute, "--compute") or 0.0, **options)
    else:
        if args.params is None or args.tokens is None:
            raise UserError("--params and --tokens are missing", where="splitjax plan --law", mend="Or give --compute.")
        size, tokens = _count(args.params, "--params") or 0.0, _count(args.tokens, "--tokens") or 0.0
        found = plan(law, size, tokens, accounting=args.accounting, **options)
    if args.plot:
        _save(found.plot(), args.plot)
    told = found.to_json()
    if args.next_run:
        told["next_run"] = next_run(law, found.budget, _count(args.next_run, "--next-run") or 0.0).to_json()
    if args.json:
        common.print_json(told)
    else:
        print(_plan_text(told))
    return 0


def _fit_text(told: Mapping[str, Any]) -> str:
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


def _plan_text(told: Mapping[str, Any]) -> str:
    low, high = told["interval"]
    words = {
        "split": f"Split at {told['split_fraction']:.1%}", "never_split": "Never split: train one model",
        "split_at_once": "Split at once: experts from step 0",
        "undetermined": f"Undetermined (best guess {told['split_fraction']:.1%})",
    }  # fmt: skip
    flat = told["flat_region"]
    lines = [
        f"{words[told['decision']]}; 90 % interval {low:.1%} to {high:.1%}; "
        f"splits between {flat[0]:.1%} and {flat[1]:.1%} cannot be told from it",
        f"N = {format_count(told['n_params'])}, T = {format_count(told['tokens'])} ({told['accounting']}), "
        f"{told['experts']} experts: D = {format_count(told['d_pretrain'])}, "
        f"D' = {format_count(told['d_special'])} each",
        "Predicted loss {:.4f} ({:.4f} to {:.4f})".format(told["predicted_loss"], *told["loss_interval"]),
    ]
    for name, base in told["baselines"].items():
        lines.append(f"  {name:<20}{_baseline_text(base, told)}")
    if next_one := told.get("next_run"):
        lines.append(
            f"Next run: N = {format_count(next_one['n_params'])}, D = {format_count(next_one['d_pretrain'])}, "
            f"D' = {format_count(next_one['d_special'])} ({next_one['flops']:.2g} FLOPs): standard deviation of the "
            f"split {next_one['sd_before']:.1%} → {next_one['sd_after']:.1%}"
        )
    return "\n".join([*lines, *told["notes"]])


def _baseline_text(base: Mapping[str, Any], told: Mapping[str, Any]) -> str:
    """The loss, and how often the split is better."""
    if base["predicted_loss"] is None:
        return f"not predicted by {told['family']}"
    text = f"{base['predicted_loss']:.4f}"
    if base.get("beaten") is not None:
        text += f"  worse than the split in {base['beaten']:.0%} of draws"
    return text


def _progress(done: int, total: int, what: str) -> None:
    import sys

    print(f"[{done}/{total}] {what}", file=sys.stderr, flush=True)


def _mapping(text: str | None) -> dict[str, str] | None:
    if not text:
        return None
    return dict(_pair(part, "--columns", "n_params=N") for part in text.split(","))


def _numbers(text: str | None) -> dict[str, float] | None:
    if not text:
        return None
    out = {}
    for part in text.split(","):
        name, value = _pair(part, "--weights", "law=2")
        try:
            out[name] = float(value)
        except ValueError:
            raise UserError(f"'{value}' is not a number", where="--weights") from None
    return out


def _pair(part: str, where: str, example: str) -> tuple[str, str]:
    name, equals, value = (word.strip() for word in part.partition("="))
    if not (name and equals and value):
        raise UserError(f"'{part}' is not a pair such as {example}", where=where)
    return name, value


def _count(text: str | None, where: str) -> float | None:
    """A count such as 2.7B, or any positive float such as 3e21."""
    if text is None:
        return None
    try:
        return float(text)
    except ValueError:
        pass
    try:
        return float(parse_count(text))
    except ValueError as error:
        raise UserError(str(error), where=where) from None


def _save(figure: Any, path: str) -> None:
    import io

    from splitjax.config import write_atomic

    image = io.BytesIO()
    figure.savefig(image, format=path.rpartition(".")[2] or "png", dpi=150)
    write_atomic(path, image.getvalue())
