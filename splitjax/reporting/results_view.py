"""results.json for a notebook: the same mapping, with a table, a picture and a data frame."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from splitjax.config import Shown

from .model_table import shown
from .pictures.plots import split_canvas


class Results(Shown, dict[str, Any]):
    """What `splitjax.run` returns: results.json and `verdict`.

    Attributes:
        plan: plan.json, for the picture.
    """

    def __init__(self, told: Mapping[str, Any], plan: Mapping[str, Any]) -> None:
        super().__init__(told)
        self.plan = plan

    def _headline(self) -> str:
        return f"Results: {self['verdict']['whether'].partition('; ')[0].rstrip('.')}"

    def _columns(self) -> dict[str, list[Any]]:
        names = shown(self)
        models = [self["models"][name] for name in names]
        after = [model["after_prefix"] for model in models]
        return {
            "model": names, "split": [model.get("fraction") for model in models],
            "tokens": [model.get("tokens") for model in models],
            "test_loss": [model["test"]["mean"] for model in models],
            "routed_loss": [each["routed"]["mean"] for each in after],
            "routed_perplexity": [each["routed"]["perplexity"] for each in after],
            **self._over_seeds(names),
        }

    def _over_seeds(self, names: list[str]) -> dict[str, list[Any]]:
        """Columns of a run with several training seeds."""
        if "seeds" not in self:
            return {}
        told = [self["seeds"]["models"][name]["routed"] for name in names]
        return {"routed_loss_of_seeds": [each["mean"] for each in told],
                "seeds_error": [each["error"] for each in told]}

    def plot(self) -> Any:
        """Loss over the split: the law with its band, and what was measured."""
        return split_canvas(self.plan, self)[0].figure
