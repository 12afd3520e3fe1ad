"""`splitjax export RUN --out FOLDER`: experts as Hugging Face folders."""

from __future__ import annotations

import argparse
import sys

from splitjax.config import PerParam, UserError, parse_count

from . import common


def add_arguments(parser: argparse.ArgumentParser) -> None:
    common.add_config_arguments(parser, redo=False)
    parser.add_argument("--out", metavar="FOLDER", required=True, help="a new or empty folder")
    parser.add_argument("--model", default="planned", help="planned, dense, 80/20, seed or another (planned)")
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), default="float32", help="of the weights (float32)")
    parser.add_argument("--shard-size", metavar="BYTES", default="5G", help="the most that a weight file holds (5G)")
    common.add_json_argument(parser)


def run(args: argparse.Namespace) -> int:
    config = common.config_of(args)
    shard_bytes = _bytes(args.shard_size)
    from splitjax.serving import export

    told = export(config, args.out, model=args.model, dtype=args.dtype, shard_bytes=shard_bytes)
    if args.json:
        common.print_json(told)
        return 0
    for expert in told["experts"]:
        common.say(f"{args.out}/{expert['folder']}")
    if config.train.seeds > 1:
        print(f"Weights of training seed {config.seed}, the first of {config.train.seeds}.", file=sys.stderr)
    return 0


def _bytes(text: str) -> int:
    try:
        count = parse_count(text.removesuffix("B") if text[-2:-1].isalpha() else text)
    except ValueError as error:
        raise UserError(str(error), where="--shard-size", mend="For example 5G or 500M.") from None
    if isinstance(count, PerParam) or count < 1:
        raise UserError(f"{text} is no size", where="--shard-size", mend="For example 5G or 500M.")
    return count
