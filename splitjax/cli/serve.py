"""`splitjax serve RUN`: OpenAI's completions protocol on loopback."""

from __future__ import annotations

import argparse
from pathlib import Path

from splitjax.config import config_at, is_models


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("config", metavar="RUN", help="config, run, exported set or Hugging Face folder")
    parser.add_argument("--port", type=int, default=8000, metavar="P", help="on 127.0.0.1; 0: any that is free (8000)")
    parser.add_argument("--model", default="planned", metavar="NAME",
                        help="of a run: the model whose experts answer (planned)")


def run(args: argparse.Namespace) -> int:
    path = Path(args.config)
    source = path if is_models(path) else config_at(path)
    from splitjax.serving import web_app

    web_app.serve(source, port=args.port, model=args.model)
    return 0
