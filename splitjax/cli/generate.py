"""`splitjax generate RUN "prompt"`: text from the expert that the router picks."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from . import common


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("config", metavar="RUN", help="config, run, exported set or Hugging Face folder")
    parser.add_argument("prompt", help="text to continue; '' begins a document")
    parser.add_argument("--max-tokens", type=int, default=128, metavar="N", help="the most tokens to write (128)")
    parser.add_argument("--temperature", type=float, default=0.0, metavar="T", help="of the softmax; 0: likeliest (0)")
    parser.add_argument("--top-k", type=int, default=0, metavar="K", help="draw from the K likeliest; 0: from all (0)")
    parser.add_argument("--top-p", type=float, default=1.0, metavar="P", help="draw from the likeliest up to P (1)")
    parser.add_argument("--seed", type=int, default=0, help="of the draws (0)")
    parser.add_argument("--expert", metavar="NAME", help="this expert, whatever the router says")
    parser.add_argument("--stop", metavar="TEXT", action="append", default=[],
                        help="end before this text; may be given several times")
    common.add_json_argument(parser)


def run(args: argparse.Namespace) -> int:
    path = Path(args.config)
    source = path if common.is_models(path) else common.config_at(path)
    from splitjax.serving import answers

    sampling = answers.Sampling(args.temperature, args.top_k, args.top_p)
    models = answers.load(source)
    answer = answers.generate(
        models, args.prompt, max_tokens=args.max_tokens, sampling=sampling, seed=args.seed, expert=args.expert,
        stop=args.stop,
    )
    if args.json:
        common.print_json({
            "expert": answer.expert, "how": answer.how, "prompt_tokens": answer.prompt_tokens,
            "read_tokens": answer.read_tokens, "text": "".join(answer.pieces),
        })
        return 0
    if answer.read_tokens < answer.prompt_tokens:
        print(f"{answer.prompt_tokens} tokens are too many for a window of {models.window}: the last "
              f"{answer.read_tokens} are read", file=sys.stderr)
    print(f"{answer.expert} ({answer.how}):", file=sys.stderr)
    for piece in answer.pieces:
        common.say(piece, end="")
    print()
    return 0
