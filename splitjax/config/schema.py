"""Every setting of a run, typed, frozen and strict. No JAX here: reading a config must be instant."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from . import seed_settings
from .data_settings import Data, Domains, Source, Tokenizer
from .model_settings import Model, RopeScaling
from .paths import refuse_remote
from .seed_settings import SeedFrom
from .settings import Fraction, Many, Settings, Split, TokenCount
from .sweep_settings import Auto as Auto
from .sweep_settings import Sweep
from .train_settings import MeshSizes, Train

__all__ = [
    "Budget", "Config", "Data", "Domains", "Evaluate", "Law", "MeshSizes", "Model", "RopeScaling", "Source", "Sweep",
    "Tokenizer", "Train",
]


class Budget(Settings):
    """What may be spent."""

    tokens: TokenCount = Field(description="T: training tokens, under the accounting below.")
    accounting: Literal["total", "per_model"] = Field(
        "total", description="total: T = D + K·D' over all models; per_model: T = D + D' seen by each expert."
    )


class Law(Settings):
    """How the law is fitted and chosen."""

    families: tuple[str, ...] = Field(("auto",), description="Families to compare; auto: all that apply.")
    loss: Literal["huber", "squared"] = Field("huber", description="Huber (1e-3) on log residuals, or squared.")
    bootstrap: int = Field(200, ge=10, description="Bootstrap draws behind the intervals.")


class Wandb(Settings):
    """What Weights & Biases files a run under, where `log` names it."""

    project: str = Field("splitjax", min_length=1, description="Project.")
    entity: str | None = Field(None, description="User or team (null: the login's own).")
    group: str | None = Field(None, description="Group of the run's phases (null: the run's name).")
    name: str = Field("{phase}", description="Name of a phase's run; {phase} and {run} stand for theirs.")
    tags: Many[str] = Field((), description="Tags of every phase's run.")


class Evaluate(Settings):
    """What is measured at the end, on the test split."""

    windows: int = Field(64, ge=1, description="Held-out windows a domain, the same for every model.")
    prefix: int = Field(64, ge=1, description="Tokens a router reads; routed losses are scored after them.")
    routers: tuple[str, ...] = Field(
        ("prefix", "centroid", "bayes", "top2_posterior", "top2_centroid", "average"), min_length=1,
        description="Routers to measure: prefix (likelihood), centroid, bayes, topN_posterior, topN_centroid; average: "
        "of the experts' parameters."
    )
    tasks: tuple[str, ...] = Field(
        (), description="JSONL files of zero-shot items (globs too), answered by every compared model."
    )
    compare: tuple[Fraction, ...] = Field(
        (), description="Further split fractions to train beside the plan, dense and 80/20."
    )


class Config(Settings):
    """A run."""

    name: str = Field("run", pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", description="Name of the run.")
    run_dir: str | None = Field(None, description="Folder of the run (null: runs/<name>).")
    seed: int = Field(0, ge=0, lt=2**31, description="Seed of initialisation and data order.")
    log: Many[Literal["tensorboard", "wandb"]] = Field((), description="Where metrics go beside metrics.jsonl.")
    wandb: Wandb = Wandb()
    seed_from: SeedFrom | None = Field(
        None, description="path: a Hugging Face folder (Llama, Qwen2, Qwen3) to start from instead of fresh weights; "
        "tokens: what it was trained on, for the law's D (null: unknown)."
    )
    topology: str | None = Field(
        None, description="Hardware that the run is meant for, as 'plan --topology' names it (v5p:4x4x4, h100:8): "
        "sweep.auto.share then counts device time as predicted there (null: FLOPs)."
    )
    data: Data
    model: Model = Model()
    train: Train = Train()
    budget: Budget
    split: Split = Field(None, description="Fraction of T or tokens; null lets the plan decide.")
    sweep: Sweep | None = Field(None, description="Small runs for the law.")
    law: Law = Law()
    evaluate: Evaluate = Evaluate()

    @model_validator(mode="before")
    @classmethod
    def _of_the_seed(cls, values: Any) -> Any:
        return seed_settings.filled_in(values) if isinstance(values, dict) else values

    @model_validator(mode="after")
    def _consistent(self) -> Config:
        if self.evaluate.prefix >= self.train.seq_len:
            raise ValueError("evaluate.prefix must be shorter than train.seq_len")
        if self.sweep is not None and self.train.experts.stops_early:
            raise ValueError("train.experts: an early stop is no end of a decay, so a sweep cannot have patience")
        if self.seed + self.train.seeds > 2**31:
            raise ValueError("train.seeds: the last seed is beyond 2^31 - 1")
        if self.sweep is None and self.split is None:
            raise ValueError("give a 'sweep' for the law to pick the split, or an explicit 'split'")
        if self.sweep is not None:
            self.sweep.check()
            if self.train.schedule == "constant":
                raise ValueError("train.schedule: a sweep needs wsd or cosine: a law is fitted to ends of decays")
        if self.seed_from is not None:
            seed_settings.check(self.seed_from, self.model, self.data.tokenizer, self.sweep)
        return self

    @field_validator("run_dir")
    @classmethod
    def _on_a_file_system(cls, run_dir: str | None) -> str | None:
        """A run folder needs locks and renames."""
        refuse_remote(run_dir or "", "run_dir")
        return run_dir

    @property
    def folder(self) -> str:
        return self.run_dir or f"runs/{self.name}"

    def resolved(self) -> dict[str, Any]:
        """A plain dict, defaults and folder filled in; it reads back as a Config that resolves to the same."""
        return self.model_dump(mode="json") | {"run_dir": self.folder}
