"""`splitjax fit TABLE.csv …`: a law of anybody's table."""

from __future__ import annotations

import argparse
from typing import Any

from splitjax.config import UserError, write_atomic

from .. import common
from . import law_text, typed
from .law_text import Told

COLUMNS = "n_params, d_pretrain, d_special, loss; also domain, weight, run, trunk, seed, u_pretrain, u_special"


def add_fit_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `splitjax fit TABLE.csv`."""
    from splitjax.law import FAMILIES

    told = f"CONFIG may be a table (.csv, .tsv, .jsonl, each also .gz; .parquet) with columns {COLUMNS}"
    group = parser.add_argument_group("of a table", told)
    group.add_argument("--columns", metavar="OURS=THEIRS,…", help="names of columns in the file")
    group.add_argument(
        "--column", metavar="OURS=EXPR", action="append", default=[],
        help="one column by its name in the file or by arithmetic: 'loss=1-acc', 'd_pretrain=flops/(6*n_params)'; "
        "+ - * / ** ( ) exp log sqrt; may be given several times",
    )
    group.add_argument("--where", metavar='"EXPR"', help='rows to read, e.g. "set == c4 and d_pretrain/n_params > 5"')
    group.add_argument("--family", default="auto", metavar="NAME|auto", help="family, or several with commas (auto)")
    group.add_argument("--holdout", metavar='"EXPR"', help='rows kept out and scored, e.g. "d_pretrain > 64000"')
    group.add_argument("--bootstrap", type=int, default=200, metavar="n", help="draws behind the intervals (200)")
    group.add_argument("--loss", choices=("huber", "squared"), default="huber", help="what is minimised (huber)")
    group.add_argument("--domains", choices=("joint", "separate"), default="joint", help="share exponents or nothing")
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
    from splitjax.law import Table, fit

    typed.check_targets(args.out, args.plot)
    columns = typed.columns(args.columns, args.column)
    with Told(quiet=args.json) as told:
        told.now(f"reading {args.config}")
        table = Table.read(args.config, columns=columns, unit=args.loss_unit, where=args.where)
        if args.domains == "separate" and len(table.domains) == 1:
            raise UserError("the table has one domain", where="--domains separate", mend="Leave it out.")
        told.now(f"fitting {len(table.loss):,} rows")
        law = fit(
            table, family=args.family.split(","), loss=args.loss, holdout=args.holdout, bootstrap=args.bootstrap,
            seed=args.seed, domains=args.domains, progress=told.step,
        )
    code = tell_fit(args, law, args.out)
    if not args.json:
        common.say(f"Law: {args.out}" if args.out else
                   "Add --out law.json, then: splitjax plan --law law.json --params … ")
    return code


def tell_fit(args: argparse.Namespace, law: Any, out: str | None = None) -> int:
    """A law, with profiles and its picture where they were asked for; all of it is made before anything is written."""
    from splitjax.law import profile

    with Told(quiet=args.json) as told:
        told.now("profiles")
        profiles = [profile(law, name) for name in args.profile.split(",")] if args.profile else []
        told.now("drawing")
        picture = typed.drawn(law.plot(), args.plot) if args.plot is not None else b""
    if out is not None:
        law.save(out)
    if args.plot is not None:
        write_atomic(args.plot, picture)
    if args.json:
        summary = law.summary()
        if profiles:
            summary["profiles"] = {p.parameter: p.to_json() for p in profiles}
        common.print_json(summary)
        return 0
    common.say(law_text.fit_text(law.summary()))
    for found in profiles:
        low, high = found.interval
        common.say(f"{found.parameter}: 90 % profile-likelihood interval {low:.4g} to {high:.4g}")
    return 0
