"""`splitjax compile CONFIG.yaml --topology v5p:4x4x4`: a step ahead of time, for hardware that is not here."""

from __future__ import annotations

import argparse
import sys

from splitjax.config import UserError

from . import common


def add_arguments(parser: argparse.ArgumentParser) -> None:
    common.add_config_arguments(parser, redo=False)
    common.add_json_argument(parser)
    parser.add_argument("--topology", required=True, metavar="NAME", help="v5p:4x4x4, 8xv5e:4x4 (8 slices), h100:8")
    parser.add_argument("--experts", type=int, metavar="K", help="experts in the stack (data.domains.k); 1: the seed")
    parser.add_argument("--search", action="store_true", help="choose batch, remat and mesh: the fastest that fits")
    parser.add_argument("--estimate", action="store_true", help="arithmetic alone, in a second; the only way for GPUs")


def run(args: argparse.Namespace) -> int:
    config = common.config_of(args)
    experts = args.experts or config.data.domains.k
    if not experts or experts < 1:
        raise UserError("the number of experts is not known", where="splitjax compile",
                        mend="Give --experts K, or data.domains.k.")
    from splitjax.planning import compiled_step, layouts

    if args.search:
        found = layouts.search(
            config, args.topology, experts=experts, analytic=args.estimate,
            told=lambda text: print(text, file=sys.stderr, flush=True),
        )
        step, told = found.best, [found.table(), *compiled_step.tables(found.best)]
        as_json = found.best.to_json() | {"layouts": [row.to_json() for row in found.rows]}
    else:
        step = compiled_step.compile_step(config, args.topology, experts=experts, analytic=args.estimate)
        told, as_json = compiled_step.tables(step), step.to_json()
    if args.json:
        common.print_json(as_json)
        return 0
    common.print_tables(told)
    return 0
