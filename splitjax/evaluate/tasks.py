"""Zero-shot tasks from local JSON lines: which continuation does a model find likeliest?

Three forms of an item, told apart by their keys:
    {"query", "choices", "gold"}                     multiple choice
    {"context_options", "continuation", "gold"}      the context is to be chosen, as in WinoGrande
    {"context", "continuation"}                      the continuation must be what greedy decoding gives, as in LAMBADA

Greedy decoding gives a continuation exactly if each of its tokens is the likeliest after the true ones before it: up to
the first token that is not, both have the same context. So one teacher-forced pass tells exact match.

An item may name its "domain"; then it can be put to that domain's expert, whatever a router would say.
"""

from __future__ import annotations

import gzip
import json
import math
import os
import re
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from splitjax.config import UserError
from splitjax.config.paths import open_record

from .served import Likelihood, Served

COMMONSENSE = {
    "BoolQ": r"boolq", "PIQA": r"piqa", "SIQA": r"s(ocial)?_?iqa", "HellaSwag": r"hellaswag",
    "WinoGrande": r"winogrande", "ARC-e": r"arc_?e(asy)?", "ARC-c": r"arc_?c(hallenge)?",
    "OpenBookQA": r"openbookqa|obqa",
}
"""The eight tasks whose mean is customary (Touvron et al. 2023), by what a file's name begins with."""
_MOST = 1 << 30
"""Bytes of a task's file."""
_FORMS = {"choice": {"query", "choices", "gold"}, "context": {"context_options", "continuation", "gold"},
          "last_word": {"context", "continuation"}}


@dataclass(frozen=True)
class Item:
    """One question.

    Attributes:
        prompt: all that a router may read: no option is in it.
        pairs: (context, continuation) of each option.
        gold: index of the right one; for one option: it is right if greedy decoding gives it.
        domain: that it is about; None: not told.
    """

    prompt: str
    pairs: tuple[tuple[str, str], ...]
    gold: int
    domain: str | None = None


@dataclass(frozen=True)
class Task:
    """The items of one file; `form` is "choice", "context" or "last_word"."""

    name: str
    form: str
    items: tuple[Item, ...]


@dataclass(frozen=True)
class Answers:
    """What a model made of a task; one entry an item.

    Attributes:
        right_N: the likeliest option is the right one.
        right_by_byte_N: the same for the log-likelihood a byte of the continuation; None where options do not differ
            in it.
        expert_N: who answered.
    """

    right_N: np.ndarray
    right_by_byte_N: np.ndarray | None
    expert_N: np.ndarray

    def to_json(self, experts: Sequence[str]) -> dict[str, Any]:
        """Accuracies with their standard errors, and how many items each expert answered."""
        found: dict[str, Any] = {"items": len(self.right_N), **_accuracy("accuracy", self.right_N)}
        if self.right_by_byte_N is not None:
            found |= _accuracy("accuracy_by_byte", self.right_by_byte_N)
        counts = np.bincount(self.expert_N, minlength=len(experts)).tolist()
        return found | {"answered": dict(zip(experts, counts, strict=True))}


def read(path: str | os.PathLike[str]) -> Task:
    """Read a task's file (.jsonl or .jsonl.gz); its name is the file's.

    Raises:
        UserError: missing, empty, or a line that is no item or of another form than the first; names file and line.
    """
    path = Path(path)
    items, form = [], ""
    for number, line in enumerate(_lines(path), 1):
        if not line.strip():
            continue
        where = f"{path}:{number}"
        try:
            told = json.loads(line)
            kind = next(kind for kind, keys in _FORMS.items() if keys <= told.keys())
            items.append(replace(_item(told, kind), domain=_domain(told)))
        except (ValueError, TypeError, AttributeError, StopIteration, IndexError, RecursionError) as error:
            why = f" ({error})" if str(error) else ""
            raise UserError(f"not an item of a task{why}", where=where,
                            mend="Its keys: query, choices, gold; or context_options, continuation, gold; or context, "
                            "continuation.") from None
        form = form or kind
        if kind != form:
            raise UserError(f"an item of form {kind} in a task of form {form}", where=where)
    if not items:
        raise UserError("holds no items", where=str(path))
    return Task(path.name.removesuffix(".gz").removesuffix(".jsonl"), form, tuple(items))


def answer(task: Task, served: Served, expert_N: Sequence[int] | None = None) -> Answers:
    """Answer every item, all of a length together.

    Args:
        expert_N: who answers each; None: whom the router picks.
    """
    if expert_N is None:
        expert_N = served.choose([item.prompt for item in task.items])
    flat = [(index, pair) for index, item in enumerate(task.items) for pair in item.pairs]
    encoded = [served.encode_pair(*pair) for _, pair in flat]
    told = iter(served.likelihoods(encoded, [expert_N[index] for index, _ in flat]))
    told_N = [[next(told) for _ in item.pairs] for item in task.items]
    right_N = np.array([_right(item, one) for item, one in zip(task.items, told_N, strict=True)])
    by_byte_N = None
    if task.form == "choice":
        by_byte_N = np.array([
            _right(item, [(nats / _bytes(pair), greedy) for (nats, greedy), pair in zip(one, item.pairs, strict=True)])
            for item, one in zip(task.items, told_N, strict=True)
        ])
    return Answers(right_N, by_byte_N, np.array(expert_N))


def shared_prompt(contexts: Sequence[str]) -> str:
    """What several contexts have in common, up to the word in which they begin to differ: an option is not in it."""
    first, last = min(contexts), max(contexts)
    same = next((at for at, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), len(first))
    return first if first == last else first[: first.rfind(" ", 0, same) + 1].rstrip()


def commonsense(scores: Mapping[str, Mapping[str, Any]]) -> tuple[float | None, list[str]]:
    """Mean accuracy over the eight commonsense tasks, and those that are missing (then there is no mean).

    Args:
        scores: `Answers.to_json` by task. The accuracy by byte is taken where there is one.
    """
    found = {}
    for title, pattern in COMMONSENSE.items():
        names = [name for name in scores if re.match(rf"({pattern})(?![a-z])", name.lower().replace("-", "_"))]
        if names:
            found[title] = scores[names[0]].get("accuracy_by_byte", scores[names[0]]["accuracy"])
    missing = [title for title in COMMONSENSE if title not in found]
    return (None if missing else sum(found.values()) / len(found)), missing


def _item(told: Mapping[str, Any], form: str) -> Item:
    if form == "last_word":
        context, continuation = _text(told["context"]), _text(told["continuation"])
        return Item(context, (_joined(context, continuation),), 0)
    options = [_text(option) for option in told["choices" if form == "choice" else "context_options"]]
    gold = told["gold"]
    if not isinstance(gold, int) or isinstance(gold, bool) or not 0 <= gold < len(options) or len(options) < 2:
        raise ValueError(f"gold is {gold!r} for {len(options)} options")
    if form == "choice":
        query = _text(told["query"])
        return Item(query, tuple(_joined(query, option) for option in options), gold)
    continuation = _text(told["continuation"])
    return Item(shared_prompt(options), tuple(_joined(option, continuation) for option in options), gold)


def _domain(told: Mapping[str, Any]) -> str | None:
    return None if told.get("domain") is None else _text(told["domain"])


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is no text")
    return value


def _joined(context: str, continuation: str) -> tuple[str, str]:
    """With a space between them where neither brings one."""
    if not continuation:
        raise ValueError("an empty continuation")
    apart = context and not context[-1].isspace() and not continuation[0].isspace()
    return context, f" {continuation}" if apart else continuation


def _right(item: Item, told: Sequence[Likelihood]) -> bool:
    if len(told) == 1:
        return told[0][1]
    return int(np.argmax([nats for nats, _ in told])) == item.gold


def _bytes(pair: tuple[str, str]) -> int:
    return max(len(pair[1].strip().encode("utf-8", "replace")), 1)


def _accuracy(name: str, right_N: np.ndarray) -> dict[str, float]:
    share, count = float(right_N.mean()), len(right_N)
    return {name: share, f"{name}_error": math.sqrt(share * (1 - share) / max(count - 1, 1))}


def _lines(path: Path) -> list[str]:
    try:
        with open_record(path, _MOST) as file, gzip.open(file) if path.suffix == ".gz" else file as plain:
            data = plain.read(_MOST + 1)
        if len(data) > _MOST:
            raise OSError(f"unpacks to more than the {_MOST:,} bytes that are read")
        return data.decode().split("\n")
    except FileNotFoundError:
        raise UserError("no such file", where=str(path), mend="Check evaluate.tasks.") from None
    except (OSError, EOFError, UnicodeDecodeError, zlib.error) as error:
        raise UserError(f"cannot be read ({error})", where=str(path)) from None
