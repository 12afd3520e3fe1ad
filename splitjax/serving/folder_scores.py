"""An exported set or any Hugging Face folder on a run's test windows, with the code that scores the run itself."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
from rich.table import Table

from splitjax import evaluate as scoring
from splitjax.config import Config, UserError
from splitjax.data import Tokenizer
from splitjax.evaluate import Scorer, routing
from splitjax.reporting.number_text import figure
from splitjax.runs.job import Job
from splitjax.runs.reporter import Reporter

from . import loaded_models
from .export_set import open_run
from .loaded_models import Loaded

_BROKEN = "\ufffd"


def evaluate_folder(folder: Path, data: Config, reporter: Reporter | None = None) -> dict[str, Any]:
    """Score the models of a folder on the test windows of a run.

    With the run's own tokenizer the windows are the same tokens, and losses are those of `results.json`. With another
    one the text of each window is encoded anew, documents apart, and only bits a byte compare: what is scored is the
    window's text but for its first token, which the run's own models read and a foreign one does not.

    Returns:
        ``{folder, data, experts, tokenizer: "same" | "other", domains, windows, prefix, models: {name: {bits_per_byte,
        test?, after_prefix?}}, run: {name: bits_per_byte}}``; `models` has "own expert" and "routed after the
        prefix" for a set whose experts are the run's domains, else "the model".

    Raises:
        UserError: what cannot be read, or a set of experts for other domains with another tokenizer.
    """
    with open_run(data, reporter) as job:
        job.reporter.now(f"scoring {folder}")
        models = loaded_models.of_folder(folder)
        same = _plain(models.tokenizer) == _plain(job.corpus.tokenizer)
        tokens_MWT = job.executor().held_out("test")
        found = _on_tokens(job, models, tokens_MWT) if same else _on_text(job, models, tokens_MWT)
        return {
            "folder": str(folder), "data": str(job.folder.path), "experts": list(models.names),
            "tokenizer": "same" if same else "other", "domains": list(job.corpus.domains),
            "windows": tokens_MWT.shape[1], "prefix": job.config.evaluate.prefix, "models": found, "run": _of_run(job),
        }


def _plain(tokenizer: Tokenizer) -> Any:
    """What decides ids: a tokenizer.json without what it adds around a text."""
    try:
        tree = json.loads(tokenizer.data)
    except ValueError:
        return tokenizer.hash, tokenizer.end_id  # a SentencePiece model
    around = ("post_processor", "truncation", "padding")
    return {key: value for key, value in tree.items() if key not in around}, tokenizer.end_id


def _on_tokens(job: Job, models: Loaded, tokens_MWT: np.ndarray) -> dict[str, Any]:
    prefix, names, domains = job.config.evaluate.prefix, models.names, job.corpus.domains
    bytes_MWS = job.corpus.tokenizer.target_bytes(tokens_MWT)
    scores = scoring.score(models.model, models.params_K, tokens_MWT, prefix, job.config.train.batch_size)
    found = {}
    if len(names) == 1 or names == domains:
        whole_MW, after_MW = scores.oracle_MW(), scores.oracle_MW(whole=False)
        found["the model" if len(names) == 1 else "own expert"] = {
            "test": scoring.by_domain(whole_MW.mean(1)), "after_prefix": scoring.by_domain(after_MW.mean(1)),
            "bits_per_byte": _bits(whole_MW.sum(1) * scores.nll_KMWS.shape[-1], bytes_MWS.sum((1, 2))),
        }
    if len(names) > 1 and models.router is not None:
        texts = routing.prefix_texts(tokens_MWT, prefix, job.corpus.tokenizer)
        routed = routing.route(models.router.router, scores, texts)
        rest_bytes_M = bytes_MWS[..., prefix:].sum((1, 2))
        found["routed after the prefix"] = {
            "after_prefix": scoring.by_domain(routed.loss_MW.mean(1)), "router": models.router.router.name,
            "bits_per_byte": _bits(routed.loss_MW.sum(1) * (tokens_MWT.shape[-1] - 1 - prefix), rest_bytes_M),
        }
    return found


def _on_text(job: Job, models: Loaded, tokens_MWT: np.ndarray) -> dict[str, Any]:
    domains = job.corpus.domains
    if len(models.names) > 1 and models.names != domains:
        raise UserError("a set of experts for other domains, with another tokenizer", where=str(job.folder.path),
                        mend="Score its experts one by one, or on the data they were made for.")
    scorer = Scorer(models.model, models.params_K, models.window)
    nats_M, bytes_M = np.zeros(len(domains)), np.zeros(len(domains))
    for m, tokens_WT in enumerate(tokens_MWT):
        expert = m if len(models.names) > 1 else 0
        pieces: list[list[int]] = []
        for tokens_T in tokens_WT:
            ids, size = _encoded(job.corpus.tokenizer, models.tokenizer, tokens_T[1:])
            bytes_M[m] += size
            pieces += [ids[at : at + models.window + 1] for at in range(0, len(ids) - 1, models.window)]
        told = scorer.under(pieces, [expert] * len(pieces))
        nats_M[m] = sum(float(one.nll_KS.sum(dtype=np.float64)) for one in told)
    return {"the model" if len(models.names) == 1 else "own expert": {"bits_per_byte": _bits(nats_M, bytes_M)}}


def _encoded(own: Tokenizer, other: Tokenizer, tokens_S: np.ndarray) -> tuple[list[int], int]:
    """The text of these tokens in another tokenizer, each document with its beginning, and its bytes.

    A character that the window cuts is left out.
    """
    parts = np.split(tokens_S, np.flatnonzero(tokens_S == own.end_id))
    texts = [own.decode(part[part != own.end_id].tolist()).strip(_BROKEN) for part in parts]
    told = [text for text, part in zip(texts, parts, strict=True) if len(part)]
    ids = [token for text in told for token in (other.end_id, *other.encode(text))]
    return ids, sum(len(text.encode()) for text in texts)


def _bits(nats_M: np.ndarray, bytes_M: np.ndarray) -> list[float]:
    return (nats_M / math.log(2) / np.maximum(bytes_M, 1)).tolist()


def _of_run(job: Job) -> dict[str, list[float]]:
    """Bits a byte of the run's own models, where these were evaluated."""
    results = job.folder.evaluated() or {"models": {}}
    return {name: row["bits_per_byte"] for name, row in results["models"].items()}


def table(found: dict[str, Any]) -> Table:
    """Bits a byte by domain, beside the run's own models."""
    columns = {f"{found['folder']}: {name}": row["bits_per_byte"] for name, row in found["models"].items()}
    columns |= {f"run: {name}": bits for name, bits in found["run"].items()}
    title = f"Bits a byte on the test windows of {found['data']}"
    if found["tokenizer"] == "other":
        title += " (another tokenizer: the same text, to a token at the head of each window)"
    shown = Table(title=title, title_justify="left")
    shown.add_column("domain")
    for name in columns:
        shown.add_column(name, justify="right", no_wrap=False)
    for index, domain in enumerate(found["domains"]):
        shown.add_row(domain, *(figure(bits[index], ".4f") for bits in columns.values()))
    shown.add_section()
    shown.add_row("mean", *(figure(float(np.mean(bits)), ".4f") for bits in columns.values()))
    return shown
