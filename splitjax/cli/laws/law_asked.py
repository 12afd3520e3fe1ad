"""`splitjax plan --law law.json …` and `splitjax predict …`: what a law is asked, and what it answers."""

from __future__ import annotations

import argparse
from typing import Any

from splitjax.config import Config, UserError, write_atomic

from .. import common
from . import law_text, typed


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
    told = "name small runs within SHARE of the main run's FLOPs that narrow the split most; without --law the first"
    group.add_argument("--propose", metavar="SHARE", help=told)
    group.add_argument("--plot", metavar="FILE.png", help="draw loss over the split fraction (.png, .svg, .pdf)")


def plan_law(args: argparse.Namespace) -> int:
    """Pick the split by a saved law, or what one model comes to; print the decision."""
    from splitjax.law import LawFit, choose_size, plan, plan_one_model, size_one_model

    typed.check_targets(args.plot)
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
        common.print_json(one.to_json()) if args.json else common.say(law_text.one_model_text(one.to_json()))
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
    known = unique_tokens(config, manifest.sizes_by_domain, manifest.weights, round(asked.size[1]) or None)
    options = {"experts": args.experts, **asked.options, **known, **fresh}
    if args.compute:
        return tell(args, law, choose_size(law, asked.flops, **options))
    options["before"] = seed_tokens(config)
    return tell(args, law, plan(law, *asked.size, accounting=args.accounting, **options))


def tell(args: argparse.Namespace, law: Any, found: Any) -> int:
    """A plan, with the run that would narrow it and its picture where they were asked for."""
    from splitjax.law import next_run, propose

    told = found.to_json()
    if args.next_run:
        told["next_run"] = next_run(law, found.budget, typed.count(args.next_run, "--next-run") or 0.0).to_json()
    if args.propose:
        b = found.budget
        told["proposed"] = propose(b.n_params, b.tokens, b.experts, _share(args), b.accounting, law).to_json()
    if args.plot is not None:
        write_atomic(args.plot, typed.drawn(found.plot(), args.plot))
    common.print_json(told) if args.json else common.say(law_text.plan_text(told))
    return 0


def first_runs(args: argparse.Namespace) -> int:
    """The small runs to begin with, where there is no law yet; print them."""
    from splitjax.law import propose

    for name in ("compute", "weights", "unique_pretrain", "unique_special", "extrapolate", "next_run", "plot"):
        if getattr(args, name):
            raise UserError("needs a law", where=f"--{name.replace('_', '-')}", mend="Give --law, or leave it out.")
    if None in (args.params, args.tokens, args.experts):
        raise UserError("--params, --tokens and --experts say which run the small ones are for", where="--propose")
    n = typed.count(args.params, "--params") or 0.0
    tokens = typed.tokens(args.tokens, "--tokens", n) or 0.0
    told = propose(n, tokens, args.experts, _share(args), args.accounting or "total").to_json()
    common.print_json({"proposed": told}) if args.json else common.say(law_text.proposal_text(told))
    return 0


def _share(args: argparse.Namespace) -> float:
    """Of --propose: of the main run's FLOPs."""
    share = typed.count(args.propose, "--propose") or 0.0
    if share > 100:
        raise UserError(f"{args.propose} times the main run's FLOPs", where="--propose",
                        mend="Give a share of them, e.g. 0.15.")
    return share


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
        self.flops = typed.count(args.compute, "--compute") or 0.0
        n = typed.count(args.params, "--params")
        self.size = (n or 0.0, typed.tokens(args.tokens, "--tokens", n) or 0.0)
        self.unique = typed.unique(args, law, n)
        weights = typed.weights(args.weights)
        if weights and len(law.domains) == 1 and law.domains[0] in weights:
            raise UserError("the law has one domain", where="--weights", mend="Leave it out.")
        self.options = {"weights": weights, "extrapolate": args.extrapolate}

    def refuse_of_split(self) -> None:
        """Options of a split, for a law that knows none."""
        why = "the law has no D' (its table had no d_special column): it knows nothing of experts"
        for name in ("accounting", "next_run", "propose", "plot"):
            if getattr(self.args, name) is not None:
                raise UserError(why, where=f"--{name.replace('_', '-')}", mend="Leave it out.")
        if self.args.experts not in (None, 1):
            raise UserError(why, where="--experts", mend="Leave it out for the loss of one model.")


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
    n = typed.count(args.params, "--params") or 0.0
    d, s = (typed.tokens(text, f"--{name}", n, or_none=True) or 0.0
            for name, text in (("pretrain", args.pretrain), ("special", args.special)))
    unique = typed.unique(args, law, n)
    found = predict(law, n, d, s, args.domain, family=args.family, extrapolate=args.extrapolate, **unique)
    common.print_json(found.to_json()) if args.json else common.say(law_text.prediction_text(found.to_json()))
    return 0
