"""A router as files, and bound to the experts it serves: which of them answers this prompt?"""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, NotRequired

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from typing_extensions import TypedDict  # the form that pydantic can check before Python 3.12

from splitjax.config import UserError, check_shape, hash_file, hash_json, read_json, write_json
from splitjax.data import Tokenizer
from splitjax.data.clusterer import FILE as CLUSTERER
from splitjax.data.clusterer import Clusterer

from . import routers
from .prompts import Prompt, as_text, read_as_text
from .routers import Centroid, Router, Seen
from .scorer import Scorer

FILE = "router.json"
FORMAT = 1


class _Told(TypedDict):
    router: Annotated[str, Field(max_length=100)]
    prior: Annotated[list[Annotated[float, Field(ge=0, allow_inf_nan=False)]], Field(min_length=1)]
    experts: list[str]
    prefix: Annotated[int, Field(ge=0, le=1 << 24)]
    tokenizer: str
    evidence: dict[str, Any]
    files: dict[Literal["clusterer.npz"], str]
    temperature: NotRequired[Annotated[float, Field(gt=0, allow_inf_nan=False)]]


@dataclasses.dataclass(frozen=True)
class SavedRouter:
    """What ``router.json`` (and ``clusterer.npz`` beside it, where the router needs one) holds.

    Attributes:
        experts: names, in the order of the weights.
        prefix: tokens that it read when it was measured.
        tokenizer: hash of the tokenizer that made them.
        evidence: what it was chosen by, for people; nothing reads it.
    """

    router: Router
    experts: tuple[str, ...]
    prefix: int
    tokenizer: str
    evidence: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    def save(self, folder: Path) -> list[Path]:
        """Write it into `folder`; returns the files."""
        told = routers.describe(self.router) | {
            "prior": list(self.router.prior_K), "experts": list(self.experts), "prefix": self.prefix,
            "tokenizer": self.tokenizer, "evidence": dict(self.evidence), "files": {},
        }
        files = [folder / FILE]
        if isinstance(self.router, Centroid):
            self.router.clusterer.save(folder)
            files.append(folder / CLUSTERER)
            told["files"] = {CLUSTERER: hash_file(folder / CLUSTERER)}
        told = {"format": FORMAT, **told}
        write_json(folder / FILE, told | {"hash": hash_json(told)})
        return files

    @classmethod
    def load(cls, folder: Path) -> SavedRouter:
        """Read it back.

        Raises:
            UserError: missing, damaged, changed by hand, of another version, or a router unknown here.
        """
        where = str(Path(folder) / FILE)
        told = read_json(where)
        version = told.get("format") if isinstance(told, dict) else None
        if version != FORMAT:
            raise UserError(f"a router of format {version}; this splitjax reads {FORMAT}", where=where)
        if told.pop("hash", None) != hash_json(told):
            raise UserError("was changed since it was written (its hash differs)", where=where, mend="Export it again.")
        check_shape(told, _Told, where, "Export it again.")
        try:
            routers.check([told["router"]])
        except UserError as error:
            raise UserError(error.what, where=where, mend=error.mend) from None
        if len(told["experts"]) != len(told["prior"]) or not 0 < sum(told["prior"]) < np.inf:
            raise UserError("damaged (its prior is none of its experts)", where=where, mend="Export it again.")
        for name, digest in told["files"].items():
            if hash_file(Path(folder) / name) != digest:
                raise UserError("is not the file that router.json names", where=str(Path(folder) / name),
                                mend="Export it again.")
        router = routers.make(told["router"], told["prior"], lambda: _clusterer(Path(folder), told))
        if isinstance(router, Centroid) and "temperature" in told:
            router = dataclasses.replace(router, temperature=told["temperature"])
        return cls(router, tuple(told["experts"]), told["prefix"], told["tokenizer"], told["evidence"])

    def copy(self, source: Path, target: Path) -> list[Path]:
        """The files of `source`, which this was read from, byte for byte in another folder."""
        names = [FILE] + ([CLUSTERER] if isinstance(self.router, Centroid) else [])
        target.mkdir(parents=True, exist_ok=True)
        return [Path(shutil.copyfile(source / name, target / name)) for name in names]


def _clusterer(folder: Path, told: Mapping[str, Any]) -> Clusterer:
    """The clusterer that router.json names by its hash, of as many centres as there are experts."""
    found = Clusterer.load(folder) if told["files"] else None
    if found is None or found.k != len(told["experts"]):
        raise UserError("no clusterer of these experts beside it", where=str(folder / FILE), mend="Export it again.")
    return found


@dataclasses.dataclass(frozen=True)
class Choice:
    """Who answers.

    Attributes:
        expert: index of the most trusted expert.
        weights_K: of all experts; 0 for those that are not used. A router of one expert has a single 1.
        belief_K: how much the router would trust each, were all of them used; the same where it cannot say.
    """

    expert: int
    weights_K: NDArray[np.float64]
    belief_K: NDArray[np.float64]

    @property
    def confidence(self) -> float:
        """Of the expert that answers."""
        return float(self.belief_K[self.expert])


class PromptRouter:
    """A router with the experts and the tokenizer it needs at hand.

    Args:
        router: None for a model that is alone: it is always chosen.
        scorer: all experts, for a router that reads their losses.
    """

    def __init__(self, router: Router | None, tokenizer: Tokenizer, scorer: Scorer) -> None:
        if router is not None and len(router.prior_K) != scorer.experts:
            raise UserError(f"routes {len(router.prior_K)} experts, not {scorer.experts}", where=FILE)
        self.router, self.tokenizer, self.scorer = router, tokenizer, scorer

    def choose(self, prompt: Prompt) -> Choice:
        """Who answers this prompt; text, its UTF-8 (broken or not), or ids."""
        return self.choose_all([prompt])[0]

    def choose_all(self, prompts: Sequence[Prompt]) -> list[Choice]:
        """`choose` of each, in few passes."""
        if not prompts:
            return []
        if self.router is None:
            return [Choice(0, np.ones(1), np.ones(1)) for _ in prompts]
        seen = self._seen(prompts)
        logw_UK, wide = self.router.log_weights(seen), self.router
        if any(field.name == "top" for field in dataclasses.fields(wide)):  # type: ignore[arg-type]
            wide = dataclasses.replace(wide, top=self.scorer.experts)  # type: ignore[type-var]
        belief_UK = np.exp(wide.log_weights(seen))
        return [Choice(int(row_K.argmax()), np.exp(row_K), belief_K)
                for row_K, belief_K in zip(logw_UK, belief_UK, strict=True)]

    def _seen(self, prompts: Sequence[Prompt]) -> Seen:
        """What the router may read of each."""
        assert self.router is not None
        if not self.router.reads_losses:
            return Seen([self._text(prompt) for prompt in prompts])
        told = self.scorer.all([self._sequence(prompt) for prompt in prompts])
        return Seen([""] * len(prompts), np.stack([one.nll_KS.sum(axis=1, dtype=np.float64) for one in told], axis=1))

    def _text(self, prompt: Prompt) -> str:
        if isinstance(prompt, str | bytes):
            return as_text(prompt)
        return read_as_text(self.tokenizer, prompt)

    def _sequence(self, prompt: Prompt) -> list[int]:
        ids = self.tokenizer.encode(as_text(prompt)) if isinstance(prompt, str | bytes) else list(prompt)
        return [self.tokenizer.end_id, *ids][-(self.scorer.window + 1) :]
