"""`splitjax config CONFIG.yaml [dotted.key=value ...]`, or `splitjax config --schema`."""

from __future__ import annotations

import argparse
from pathlib import Path

from splitjax.config import UserError, Value, origins, schema_text, to_yaml

from . import common


def add_arguments(parser: argparse.ArgumentParser) -> None:
    common.add_config_arguments(parser, redo=False, needed=False)
    common.add_json_argument(parser)
    parser.add_argument("--schema", action="store_true", help="print the JSON schema of a config file, for editors")


def run(args: argparse.Namespace) -> int:
    if args.schema:
        if args.config or args.json:
            raise UserError("--schema takes nothing beside it", where="splitjax config")
        print(schema_text(), end="")
        return 0
    if not args.config:
        raise UserError("no config", where="splitjax config", mend="Give a CONFIG.yaml, or --schema.")
    common.config_of(args)  # refuses what any command would refuse
    path = Path(args.config)
    found = origins(path / "config.yaml" if path.is_dir() else path, args.overrides)
    if args.json:
        common.print_json([value._asdict() for value in found])
    else:
        for line in lines(found):
            common.say(line)
    return 0


def lines(found: list[Value]) -> list[str]:
    """key: value  # origin, one a line, the origins in a column."""
    left = [f"{value.key}: {_flat(value.value)}" for value in found]
    width = min(max(map(len, left)), 60)
    return [f"{text:<{width}}  # {value.origin}" for text, value in zip(left, found, strict=True)]


def _flat(value: object) -> str:
    return to_yaml({"x": value}, flow=True).strip().removeprefix("{x: ").removesuffix("}")
