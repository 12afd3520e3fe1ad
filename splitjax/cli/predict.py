"""`splitjax predict --law law.json --params 1B --pretrain 20B --special 2B`: one loss with its interval."""

from __future__ import annotations

import argparse

from . import common, laws


def add_arguments(parser: argparse.ArgumentParser) -> None:
    common.add_json_argument(parser)
    laws.add_predict_arguments(parser)


def run(args: argparse.Namespace) -> int:
    return laws.predict_loss(args)
