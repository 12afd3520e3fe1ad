"""Laws of anybody's table: `splitjax fit TABLE.csv …`, `splitjax plan --law law.json …`, `splitjax predict …`."""

from __future__ import annotations

import argparse
import math
from collections.abc import Iterable
from typing import Any

from splitjax.config import Config, PerParam, UserError, parse_count, tokens_of, write_atomic

from .. import common
from . import law_text

COLUMNS = "n_params,d_pretrain,d_special,loss[,domain][,weight][,run][,trunk][,seed][,u_pretrain,u_special]"


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

    columns = _columns(args.columns, args.column)
    table = Table.read(args.config, columns=columns, unit=args.loss_unit, where=args.where)
    if args.domains == "separate" and len(table.domains) == 1:
        raise UserError("the table has one domain", where="--domains separate", mend="Leave it out.")
    law = fit(
        table, family=args.family.split(","), loss=args.loss, holdout=args.holdout, bootstrap=args.bootstrap,
        seed=args.seed, domains=args.domains, progress=None if args.json else _progress,
    )
    told = tell_fit(args, law, args.out)
    if not args.json:
        print(f"Law: {args.out}" if args.out else "Add --out law.json, then: splitjax plan --law law.json --params … ")
    return told


def tell_fit(args: argparse.Namespace, law: Any, out: str | None = None) -> int:
    """A law, with profiles and its picture where they were asked for; all of it is made before anything is written."""
    from splitjax.law import profile

    profiles = [profile(law, name) for name in args.profile.split(",")] if args.profile else []
    picture = drawn(law.plot(), args.plot) if args.plot else b""
    if out:
        law.save(out)
    if args.plot:
        write_atomic(args.plot, picture)
    if args.json:
        told = law.summary()
        if profiles:
            told["profiles"] = {p.parameter: p.to_json() for p in profiles}
        common.print_json(told)
        return 0
    print(law_text.fit_text(law.summary()))
    for found in profiles:
        low, high = found.interval
        print(f"{found.parameter}: 90 % profile-likelihood interval {low:.4g} to {high:.4g}")
    return 0


def add_plan_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `splitjax plan --law law.json`."""
    parser.add_argument("--law", metavar="law.json", help="a law written by splitjax fit TABLE.csv --out law.json")
    about = ("a law without D' says the loss of one model: leave --experts out; of a run each option asks its own law "
             "another question, its files stay as they are")
    add_question_arguments(parser, "of any law", about)


def add_question_arguments(parser: argparse.ArgumentParser, title: str, about: str) -> None:
    """What a law can be asked."""
    group = parser.add_argument_group(title, about)
    group.add_argument("--params", metavar="N", help="non-embedding parameters, e.g. 2.7B")
    group.add_argument("--tokens", metavar="T", help="budget, e.g. 100B, or 20x: 20 tokens a parameter")
    group.add_argument("--compute", metavar="FLOPS", help="training FLOPs instead of N and T: N is chosen as well")
    group.add_argument("--experts", type=int, metavar="K", help="number of experts")
    group.add_argument("--accounting", choices=("total", "per_model"), help="what T counts (total)")
    group.add_argument("--weights", metavar="DOMAIN=w,…", help="weights of domains in the mean (all alike)")
    group.add_argument("--unique-pretrain", metavar="U", help="unique mixture tokens, for laws of repeated data")
    group.add_argument("--unique-special", metavar="U", help="unique tokens of a domain, for laws of repeated data")
    group.add_argument("--extrapolate", action="store_true", help="allow N, T, D or D' over 30 times outside the fit")
    group.add_argument("--next-run", metavar="FLOPS", help="name the run within FLOPS that narrows the split most")
    group.add_argument("--plot", metavar="FILE.png", help="draw loss over the split fraction (.png, .svg, .pdf)")


def plan_law(args: argparse.Namespace) -> int:
    """Pick the split by a saved law, or what one model comes to; print the decision."""
    from splitjax.law import LawFit, choose_size, plan, plan_one_model, size_one_model

    law = LawFit.load(args.law)
    if law.table.has_special and args.experts is None:
        raise UserError("--experts is missing", where="splitjax plan --law")
    asked = _Asked(args, law)
    if not law.table.has_special:
        asked.refuse_of_split()
        options = {**asked.options, "u_pretrain": asked.unique["u_pretrain"]}
        if args.compute:
            one = size_one_model(law, asked.flops, **options)
        else:
            one = plan_one_model(law, *asked.size, **options)
        common.print_json(one.to_json()) if args.json else print(law_text.one_model_text(one.to_json()))
        return 0
    options = {"experts": args.experts, **asked.options, **asked.unique}
    if args.compute:
        return tell(args, law, choose_size(law, asked.flops, **options))
    return tell(args, law, plan(law, *asked.size, accounting=args.accounting or "total", **options))


def plan_again(args: argparse.Namespace, config: Config) -> int:
    """Ask the law of a run what its config does not: another budget, size, price or picture. Nothing is written there.

    Raises:
        UserError: the run has no law, or what `plan` refuses.
    """
    from splitjax.data import Manifest
    from splitjax.law import LawFit, choose_size, plan
    from splitjax.model import n_params
    from splitjax.runs.cells import budget_tokens, seed_tokens, unique_tokens
    from splitjax.runs.run_folder import RunFolder

    folder = RunFolder(config.folder)
    folder.check(config)
    if not folder.law.exists():
        raise UserError("no law to ask", where=str(folder.law), mend="Run 'splitjax fit' first.")
    folder.need("fit")
    law, manifest = LawFit.load(folder.law), Manifest.load(folder.data)
    own = {"params": str(n_params(config.model)), "tokens": str(budget_tokens(config)), "experts": manifest.k,
           "accounting": config.budget.accounting}
    for name, value in own.items():
        if getattr(args, name) is None and not (args.compute and name != "experts"):
            setattr(args, name, value)
    asked = _Asked(args, law)
    fresh = {name: value for name, value in asked.unique.items() if value is not None}
    options = {"experts": args.experts, **asked.options, **unique_tokens(config, manifest.sizes_by_domain), **fresh}
    if args.compute:
        return tell(args, law, choose_size(law, asked.flops, **options))
    options["before"] = seed_tokens(config)
    return tell(args, law, plan(law, *asked.size, accounting=args.accounting, **options))


def tell(args: argparse.Namespace, law: Any, found: Any) -> int:
    """A plan, with the run that would narrow it and its picture where they were asked for."""
    from splitjax.law import next_run

    told = found.to_json()
    if args.next_run:
        told["next_run"] = next_run(law, found.budget, _count(args.next_run, "--next-run") or 0.0).to_json()
    if args.plot:
        write_atomic(args.plot, drawn(found.plot(), args.plot))
    common.print_json(told) if args.json else print(law_text.plan_text(told))
    return 0


class _Asked:
    """A budget as it was typed. Options that would change nothing are refused."""

    def __init__(self, args: argparse.Namespace, law: Any) -> None:
        self.args, self.law = args, law
        if args.compute:
            for name in ("params", "tokens", "accounting"):
                if getattr(args, name) is not None:
                    why = "counts all models (total)" if name == "accounting" else "chooses N and T"
                    raise UserError(f"--{name} with --compute, which {why}", where="splitjax plan --law",
                                    mend="Give one of them.")
        elif args.params is None or args.tokens is None:
            raise UserError("--params and --tokens are missing", where="splitjax plan --law", mend="Or give --compute.")
        self.flops = _count(args.compute, "--compute") or 0.0
        n = _count(args.params, "--params")
        self.size = (n or 0.0, _tokens(args.tokens, "--tokens", n) or 0.0)
        self.unique = unique(args, law, n)
        weights = _weights(args.weights)
        if weights and len(law.domains) == 1 and law.domains[0] in weights:
            raise UserError("the law has one domain", where="--weights", mend="Leave it out.")
        self.options = {"weights": weights, "extrapolate": args.extrapolate}

    def refuse_of_split(self) -> None:
        """Options of a split, for a law that knows none."""
        why = "the law has no D' (its table had no d_special column): it knows nothing of experts"
        for name in ("accounting", "next_run", "plot"):
            if getattr(self.args, name) is not None:
                raise UserError(why, where=f"--{name.replace('_', '-')}", mend="Leave it out.")
        if self.args.experts not in (None, 1):
            raise UserError(why, where="--experts", mend="Leave it out for the loss of one model.")


def unique(args: argparse.Namespace, law: Any, n_params: float | None) -> dict[str, Any]:
    """Unique tokens of mixture and domain, where the law knows what a repeat is worth.

    Raises:
        UserError: it does not.
    """
    from splitjax.law import repeated

    known = repeated(law.table)
    found: dict[str, Any] = {}
    for option, text, half_life in (
        ("pretrain", args.unique_pretrain, "R_pretrain"), ("special", args.unique_special, "R_special"),
    ):
        where = f"--unique-{option}"
        found[f"u_{option}"] = _tokens(text, where, n_params)
        if text is not None and half_life not in known:
            what = f"the law knows no repeats: no row of its table had u_{option} below d_{option}"
            raise UserError(what, where=where, mend="Leave it out.")
    return found


def add_predict_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `splitjax predict`."""
    parser.add_argument("--law", metavar="law.json", required=True, help="a law that splitjax fit wrote with --out")
    parser.add_argument("--params", metavar="N", required=True, help="non-embedding parameters, e.g. 1B")
    parser.add_argument("--pretrain", metavar="D", required=True, help="mixture tokens, e.g. 20B, 20x (a parameter), 0")
    parser.add_argument("--special", metavar="D'", default="0", help="domain tokens after them (0)")
    parser.add_argument("--domain", metavar="NAME", help="loss of one domain (the mean over all)")
    parser.add_argument("--family", metavar="NAME", help="ask one family alone")
    parser.add_argument("--unique-pretrain", metavar="U", help="unique mixture tokens, for laws of repeated data")
    parser.add_argument("--unique-special", metavar="U", help="unique domain tokens, for laws of repeated data")
    parser.add_argument("--extrapolate", action="store_true", help="allow N, D or D' over 30 times outside the fit")


def predict_loss(args: argparse.Namespace) -> int:
    """One loss of a saved law; print it with its interval."""
    from splitjax.law import LawFit, predict

    law = LawFit.load(args.law)
    n = _count(args.params, "--params") or 0.0
    d, s = (_tokens(text, f"--{name}", n, or_none=True) or 0.0
            for name, text in (("pretrain", args.pretrain), ("special", args.special)))
    found = predict(law, n, d, s, args.domain, family=args.family, extrapolate=args.extrapolate, **unique(args, law, n))
    common.print_json(found.to_json()) if args.json else print(law_text.prediction_text(found.to_json()))
    return 0


def _count(text: str | None, where: str) -> float | None:
    """A positive number: a count such as 2.7B, or any float such as 3e21; None where it is absent.

    Raises:
        UserError: no such number.
    """
    value = _value(text, where)
    if isinstance(value, PerParam):
        raise UserError(f"{text} is tokens per parameter", where=where, mend="Give a count such as 2.7B.")
    return value


def _tokens(text: str | None, where: str, n_params: float | None, *, or_none: bool = False) -> float | None:
    """The same for tokens, which may be given per parameter: 20x.

    Args:
        text: as it was typed.
        where: the option.
        n_params: N; None where it is not given.
        or_none: 0 is a number of tokens too.

    Raises:
        UserError: no such number, or per parameter without N.
    """
    if or_none and text is not None and text.strip() == "0":
        return 0.0
    value = _value(text, where)
    if not isinstance(value, PerParam):
        return value
    if n_params is None:
        raise UserError(f"{text} is tokens per parameter, and N is not given", where=where, mend="Give tokens.")
    return float(tokens_of(value, round(n_params)))


def _value(text: str | None, where: str) -> float | PerParam | None:
    if text is None:
        return None
    try:
        value = float(text)
    except ValueError:
        try:
            value = parse_count(text)
        except ValueError as error:
            raise UserError(str(error), where=where) from None
    if not 0 < value < math.inf:
        raise UserError(f"{text} is not a positive count", where=where)
    return value if isinstance(value, PerParam) else float(value)


def _columns(renamed: str | None, given: Iterable[str]) -> dict[str, str]:
    """Our name → the file's, or arithmetic: of --columns OURS=THEIRS,… and of every --column OURS=EXPR.

    Raises:
        UserError: not such pairs, or a name that is given twice.
    """
    pairs = [_pair(part, "--columns", "n_params=N") for part in (renamed.split(",") if renamed else ())]
    pairs += [_pair(part, "--column", "loss=1-acc") for part in given]
    found: dict[str, str] = {}
    for name, value in pairs:
        if name in found:
            raise UserError(f"'{name}' is given twice", where="--column")
        found[name] = value
    return found


def _weights(text: str | None) -> dict[str, float] | None:
    """Domain → weight.

    Raises:
        UserError: not such pairs.
    """
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
    """The two sides of the first equals sign.

    Raises:
        UserError: there is none, or nothing on a side.
    """
    name, equals, value = (word.strip() for word in part.partition("="))
    if not (name and equals and value):
        raise UserError(f"'{part}' is not a pair such as {example}", where=where)
    return name, value


def _progress(done: int, total: int, what: str) -> None:
    import sys

    print(f"[{done}/{total}] {what}", file=sys.stderr, flush=True)


def drawn(figure: Any, path: str) -> bytes:
    """A picture in the format that its name ends with, before anything is written."""
    import io

    image, kind = io.BytesIO(), path.rpartition(".")[2] or "png"
    try:
        figure.savefig(image, format=kind, dpi=150)
    except ValueError:
        raise UserError(f"no pictures of the kind '{kind}'", where=path, mend="Known: png, svg, pdf.") from None
    return image.getvalue()
