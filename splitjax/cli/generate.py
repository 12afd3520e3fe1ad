"""`splitjax generate RUN ["prompt"]`: text from the expert that the router picks; without a prompt, a prompt line."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from splitjax.config import UserError, config_at, is_models

from . import common


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("config", metavar="RUN", help="config, run, exported set or Hugging Face folder")
    parser.add_argument("prompt", nargs="?", help="text to continue; '' begins a document; without one: what standard "
                        "input holds, or a prompt line in a terminal")
    parser.add_argument("--file", metavar="FILE", help="a prompt a line; of .jsonl the field 'prompt'")
    parser.add_argument("--max-tokens", type=int, default=128, metavar="N", help="the most tokens to write (128)")
    parser.add_argument("--temperature", type=float, default=0.0, metavar="T", help="of the softmax; 0: likeliest (0)")
    parser.add_argument("--top-k", type=int, default=0, metavar="K", help="draw from the K likeliest; 0: from all (0)")
    parser.add_argument("--top-p", type=float, default=1.0, metavar="P", help="draw from the likeliest up to P (1)")
    parser.add_argument("--seed", type=int, default=0, help="of the draws (0)")
    parser.add_argument("--expert", metavar="NAME", help="this expert, whatever the router says")
    parser.add_argument("--stop", metavar="TEXT", action="append", default=[],
                        help="end before this text; may be given several times")
    parser.add_argument("--json", action="store_true", help="a JSON object a prompt, with the weights of the router")


def run(args: argparse.Namespace) -> int:
    if args.file is not None and args.prompt is not None:
        raise UserError("both a prompt and --file", where="splitjax generate", mend="Give one of them.")
    path = Path(args.config)
    source = path if is_models(path) else config_at(path)  # before the heavy imports
    typed = args.prompt is None and args.file is None and sys.stdin.isatty()
    prompts = [] if typed else _given(args)
    from splitjax.serving import answers

    sampling = answers.Sampling(args.temperature, args.top_k, args.top_p)
    models = answers.load(source)
    answer = partial(
        answers.generate, models, max_tokens=args.max_tokens, sampling=sampling, seed=args.seed, expert=args.expert,
        stop=args.stop,
    )
    if typed:
        print(f"{', '.join(models.names)}; Ctrl-D ends. One moment …", file=sys.stderr, flush=True)
        answers.warm(models, args.max_tokens)
    for number, prompt in enumerate(_typed() if typed else prompts):
        if number and not args.json and not typed:
            print()
        _tell(answer(prompt), models.window, args.json and (args.file is not None or typed), args)
    return 0


def _given(args: argparse.Namespace) -> list[str]:
    """The prompts of the command line, of a file, or the one that standard input holds.

    Raises:
        UserError: no such file, or a line of it is no prompt.
    """
    if args.prompt is not None:
        return [args.prompt]
    if args.file is None:
        return [sys.stdin.read()]
    try:
        lines = Path(args.file).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(getattr(error, "strerror", None) or "not UTF-8", where=args.file) from None
    if not args.file.endswith(".jsonl"):
        return lines
    prompts = []
    for number, line in enumerate(lines, 1):
        try:
            prompts.append(json.loads(line)["prompt"])
        except (ValueError, KeyError, TypeError, RecursionError):
            raise UserError("no JSON object with a 'prompt'", where=f"{args.file}:{number}") from None
        if not isinstance(prompts[-1], str):
            raise UserError("a prompt is text", where=f"{args.file}:{number}")
    return prompts


def _typed() -> Iterator[str]:
    """Prompts as they are typed, until the input ends."""
    import contextlib

    with contextlib.suppress(ImportError):
        import readline  # noqa: F401 - line editing and history, where the platform has them
    while True:
        try:
            yield input("> ")
        except EOFError:
            print(file=sys.stderr)
            return


def _tell(answer: Any, window: int, as_line: bool, args: argparse.Namespace) -> None:
    """One answer, as it comes."""
    if args.json:
        told = answer.to_json()
        common.print_json(told, line=as_line)
        return
    if answer.read_tokens < answer.prompt_tokens:
        print(f"{answer.prompt_tokens} tokens are too many for a window of {window}: the last "
              f"{answer.read_tokens} are read", file=sys.stderr)
    print(f"{answer.expert} ({answer.how}):", file=sys.stderr, flush=True)
    for piece in answer.pieces:
        common.say(piece, end="")
    print()
