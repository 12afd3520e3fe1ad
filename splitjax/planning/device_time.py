"""What phases take on named hardware, predicted: small models use it less well than their FLOPs say."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from splitjax.config import Config, Model
from splitjax.parallel import Topology
from splitjax.runs.phase_tree import Phase

from . import estimate
from .compiled_step import compile_step


@dataclass(frozen=True)
class DeviceTime:
    """Steps of a run's models on a topology, by arithmetic: no evaluation, saves, waits for Python or restarts.

    Attributes:
        experts: K.
        topology: all of it works on one phase at a time.
    """

    config: Config
    experts: int
    topology: Topology
    _steps: dict[tuple[Model, int], float] = field(default_factory=dict)

    def hours(self, phases: Iterable[Phase]) -> float:
        """Device-hours of the steps of these phases.

        Raises:
            UserError: the batch or the mesh does not fit the topology.
        """
        seconds = 0.0
        for phase in phases:
            models = phase.stack_size(self.experts)
            seconds += phase.steps(self.experts) / models * self._step(phase.model, models)
        return seconds * self.topology.devices / 3600

    def _step(self, model: Model, models: int) -> float:
        """Seconds of one step of so many models, as one stack or, where that is not wanted or does not fit, in turn."""
        if (model, models) not in self._steps:
            alone = models == 1 or self.config.train.placement == "serial"
            found = None if alone else self._estimate(model, models)
            self._steps[model, models] = models * self._estimate(model, 1)[0] if not (found and found[1]) else found[0]
        return self._steps[model, models]

    def _estimate(self, model: Model, models: int) -> tuple[float, bool]:
        """Seconds of a step of a stack, and whether it fits."""
        config = self.config.model_copy(update={"model": model})
        mesh = estimate.mesh_for(config.train, models, self.experts, self.topology)
        found = compile_step(config, self.topology, experts=models, mesh=mesh, analytic=True)
        return found.step_time, found.fits
