"""`splitjax data show CONFIG.yaml --domain d --n 5`: what a model will see, counted and decoded."""

from __future__ import annotations

import argparse

from splitjax.config import UserError, did_you_mean

from . import common


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("what", metavar="show", help="show: documents of a domain as a model sees them")
    common.add_config_arguments(parser, redo=False)
    parser.add_argument("--domain", metavar="NAME", help="one domain (all)")
    parser.add_argument("--n", type=int, default=5, metavar="N", help="documents a domain (5)")
    parser.add_argument("--split", default="train", help="train, validation or test (train)")
    common.add_json_argument(parser)


def run(args: argparse.Namespace) -> int:
    if args.what != "show":
        raise UserError(f"no 'data {args.what}'", mend=did_you_mean(args.what, ["show"]))
    if args.n < 1:
        raise UserError(f"--n {args.n} documents", mend="Give 1 or more.")
    config = common.config_of(args)
    from splitjax.data import Corpus
    from splitjax.runs.run_folder import RunFolder

    corpus = Corpus.open(RunFolder(config.folder).data)
    names = corpus.domains if args.domain is None else (args.domain,)
    shown = {name: corpus.show(name, args.n, args.split) for name in names}
    if args.json:
        told = {"documents": shown, "clusters": corpus.about_domains(), "counts": corpus.manifest.summary()}
        common.print_json(told)
        return 0
    common.say("\n".join([*corpus.manifest.table(), *corpus.manifest.notes()]))
    for cluster in corpus.about_domains():
        common.say(f"{cluster['name']}: {', '.join(cluster['terms'][:12])}")
    for name, texts in shown.items():
        for number, text in enumerate(texts, 1):
            common.say(f"--- {name}, {args.split} document {number} of {args.n}\n{text}")
    return 0
