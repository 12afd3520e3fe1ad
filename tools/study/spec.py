"""What a study measures, as a committed file says: laws, settings, ablations → parts, each a sweep of its own."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BeforeValidator, Field, ValidationError, model_validator

from splitjax.config import Config, Model, UserError, load, tokens_of
from splitjax.config.explain import first_mistake
from splitjax.config.settings import Fraction, Settings, TokenCount
from splitjax.model import flops_per_token, n_params
from splitjax.runs.cells import Clock
from splitjax.runs.phase_tree import Cell
from splitjax.runs.sweeping.sweep_cells import sweep_cells


def _frozen(value: object) -> object:
    return tuple(value) if isinstance(value, list) else value


Overrides = Annotated[tuple[str, ...], BeforeValidator(_frozen)]
"""dotted.key=value, each."""


class Setting(Settings):
    """A size and a budget beyond the law's runs, at which its split is put to the test."""

    law: str = Field(description="The law that picks.")
    accounting: Literal["total", "per_model"]
    tokens: TokenCount = Field(description="T under the accounting.")
    seeds: tuple[int, ...] = (0,)
    model: Model | None = Field(None, description="Its size, where it is not the config's `model`.")
    also: dict[str, Fraction] = Field({}, description="Another rule → its split, which is measured too.")

    def asked(self) -> dict[str, Any]:
        """As the picks record it: keys that say nothing are left out, as in picks made before there were such keys."""
        silent = {key for key in ("model", "also") if not getattr(self, key)}
        return self.model_dump(mode="json", exclude=silent)


class Ablation(Settings):
    """The sweep of all ablations under a changed recipe or other domains."""

    accounting: Literal["total", "per_model"] = "total"
    overrides: Overrides


class Spec(Settings):
    """A study. The config gives the recipe, the law's sweep (`sweep`) and the size of the settings (`model`)."""

    laws: dict[str, Overrides] = Field(description="Name → overrides of the config: other domains.")
    settings: dict[str, Setting]
    fractions: tuple[Fraction, ...] = Field(description="Splits measured in every setting, beside the law's own pick.")
    larger: Model | None = Field(None, description="A dense model of more parameters, trained for equal FLOPs.")
    ablation: dict[str, Any] = Field({}, description="models, tokens, split, seeds of every ablation.")
    ablations: dict[str, Ablation] = Field({}, description="Name → what differs.")

    @model_validator(mode="after")
    def _named(self) -> Spec:
        for name, setting in self.settings.items():
            if setting.law not in self.laws:
                raise ValueError(f"settings.{name}.law: there is no law '{setting.law}'")
        names = [*self.laws, *self.settings, *self.ablations]
        if len(set(names)) < len(names):
            raise ValueError("laws, settings and ablations have names of their own: no two alike")
        if not {0.8, 1.0} <= set(self.fractions):
            raise ValueError("fractions: 0.8 and 1 are the rivals of every split")
        return self


def read_spec(path: Path) -> Spec:
    """The file that names the settings.

    Raises:
        UserError: no such file, or what it says does not fit; names the key.
    """
    try:
        return Spec.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))
    except OSError as error:
        raise UserError(f"no settings ({error.strerror})", where=str(path)) from None
    except yaml.YAMLError as error:
        raise UserError(f"not YAML ({error})", where=str(path)) from None
    except ValidationError as error:
        _, what, mend = first_mistake(error, Spec)
        raise UserError(what, where=str(path), mend=mend) from None


@dataclass(frozen=True)
class Part:
    """A stretch of the study that is trained in one go and whose rows are kept together.

    Attributes:
        name: of a law, a setting, `against-LAW` (larger or longer dense models) or an ablation.
        kind: law, setting, against or ablation.
        config: with the sweep of this part, in the run folder of its data.
    """

    name: str
    kind: str
    config: Config

    @property
    def experts(self) -> int:
        k = self.config.data.domains.k
        if k is None:
            raise UserError("the number of domains must be known beforehand", where="data.domains.k")
        return k

    @property
    def clock(self) -> Clock:
        return Clock.of(self.config, self.experts)

    @property
    def cells(self) -> list[Cell]:
        return sweep_cells(self.config, self.clock)


class Study:
    """A config, its settings, and the parts that follow.

    Args:
        path, overrides: the config; the same for every part.
        folder: where the run folders lie, one for each law and each ablation.
    """

    def __init__(self, path: str, overrides: Sequence[str], spec: Spec) -> None:
        self.path, self.overrides, self.spec = path, list(overrides), spec
        self.base = load(path, overrides)
        self.folder = Path(self.base.folder)

    def law_part(self, law: str) -> Part:
        """The sweep that the law is fitted to."""
        return Part(law, "law", self._config(law, self.spec.laws[law]))

    def model_of(self, name: str) -> Model:
        """The size of a setting."""
        return self.spec.settings[name].model or self.base.model

    def setting_part(self, name: str, picked: float | None) -> Part:
        """All splits of a setting, with the law's pick (None: not known yet; one at half stands for its cost)."""
        setting = self.spec.settings[name]
        extra = 0.5 if picked is None else picked
        splits = sorted({*self.spec.fractions, *setting.also.values(), extra})
        sweep = {"models": self._model(self.model_of(name)), "tokens": str(setting.tokens), "split": splits,
                 "seeds": list(setting.seeds)}
        return Part(name, "setting", self._setting_config(setting, sweep))

    def against_part(self, law: str, picks: dict[str, float]) -> Part | None:
        """Dense models that cost what the planned experts of the law's settings cost: longer ones, and larger ones."""
        cells: list[dict[str, Any]] = []
        for name, setting in self.spec.settings.items():
            if setting.law != law:
                continue
            for model, tokens in self.rivals(name, picks.get(name)):
                cells.append({"models": self._model(model), "d_pretrain": tokens, "d_special": 0})
        if not cells:
            return None
        return Part(f"against-{law}", "against", self._config(law, self.spec.laws[law], {"list": cells}))

    def rivals(self, name: str, picked: float | None) -> list[tuple[Model, int]]:
        """(model, tokens) of the dense models that cost as many FLOPs as the planned experts of a setting.

        Under `total` the dense model of the same size is a split of the setting's own: it is not listed here.
        """
        setting = self.spec.settings[name]
        part = self.setting_part(name, picked)
        clock, model = part.clock, self.model_of(name)
        budget = clock.budget(tokens_of(setting.tokens, n_params(model)))
        pretrain, special = clock.split(budget, 0.5 if picked is None else picked)
        tokens = (pretrain + part.experts * special) * clock.tokens_per_step
        found = [(model, tokens)] if setting.accounting == "per_model" else []
        if larger := self.spec.larger:
            vocab, length = self.base.data.tokenizer.vocab_size, self.base.train.seq_len
            share = flops_per_token(model, vocab, length) / flops_per_token(larger, vocab, length)
            found.append((larger, round(tokens * share)))
        return found

    def ablation_part(self, name: str) -> Part:
        ablation = self.spec.ablations[name]
        config = self._config(name, (*ablation.overrides, f"budget.accounting={ablation.accounting}"),
                              self.spec.ablation)
        return Part(name, "ablation", config)

    def parts(self, picks: dict[str, float]) -> list[Part]:
        """All parts, in the order in which they can be trained."""
        found = [self.law_part(law) for law in self.spec.laws]
        found += [self.setting_part(name, picks.get(name)) for name in self.spec.settings]
        found += [part for law in self.spec.laws if (part := self.against_part(law, picks))]
        return found + [self.ablation_part(name) for name in self.spec.ablations]

    def _setting_config(self, setting: Setting, sweep: dict[str, Any]) -> Config:
        budget = [f"budget.accounting={setting.accounting}", f"budget.tokens={setting.tokens}"]
        return self._config(setting.law, (*self.spec.laws[setting.law], *budget), sweep)

    def _config(self, place: str, overrides: Sequence[str], sweep: dict[str, Any] | None = None) -> Config:
        given = [*self.overrides, *overrides, f"run_dir={self.folder / place}"]
        return load(self.path, given + ([f"sweep={json.dumps(sweep)}"] if sweep else []))

    @staticmethod
    def _model(model: Model) -> dict[str, Any]:
        return {key: value for key, value in model.model_dump(mode="json").items() if value is not None}
