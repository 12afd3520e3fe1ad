"""Small models of the main model's kind: its depth to its width, scaled down, in sizes that hardware likes."""

from __future__ import annotations

import numpy as np

from splitjax.config import Model
from splitjax.model import n_params

LEAST_WIDTH = 12
"""A narrower residual stream hardly beats the frequencies of single tokens."""


def family(model: Model) -> list[Model]:
    """Every smaller model of this kind, from the smallest, one a width; the largest is below the model itself.

    Width and depth shrink together, d : L as in the main model, at least two layers where it has them. Widths come in
    steps of 64 for a main model of 1,024 or wider, of 16 from 256 on, else of 4, and in whole heads.
    """
    step = 64 if model.d_model >= 1024 else 16 if model.d_model >= 256 else 4
    widths = range(-(-LEAST_WIDTH // step) * step, model.d_model, step)
    made = [scaled(model, width) for width in widths]
    return [each for each in made if n_params(each) < n_params(model)]


def scaled(model: Model, width: int) -> Model:
    """The model of this kind that is `width` wide."""
    ratio = width / model.d_model
    layers = max(min(2, model.n_layers), round(model.n_layers * ratio))
    head = _head(model, width)
    heads = width // head
    groups = max(1, round(heads * model.kv_heads / model.n_heads))
    while heads % groups:
        groups -= 1
    return model.model_copy(update={
        "d_model": width, "n_layers": layers, "n_heads": heads, "head_dim": None,
        "n_kv_heads": None if groups == heads else groups, "d_ff": _ffn(model, width),
    })


def _head(model: Model, width: int) -> int:
    """Width of a head: the main model's where it divides the width into two or more, else the largest even divisor."""
    wanted = min(model.width_of_head, width // 2)
    return next(each for each in range(wanted - wanted % 2, 0, -2) if width % each == 0)


def _ffn(model: Model, width: int) -> int | None:
    """The main model's ratio of widths, in multiples of 8; null where it is the default."""
    if model.d_ff is None:
        return None
    return max(8, round(model.d_ff / model.d_model * width / 8) * 8)


def ladder(models: list[Model], largest: int, count: int, span: float = 4.0) -> list[Model] | None:
    """`count` of these models up to the one at `largest`, their N even in the logarithm over a factor of about `span`.

    Returns:
        None where there are too few below it.
    """
    top = n_params(models[largest])
    targets = np.geomspace(top / span, top, count)
    logs = np.log([n_params(each) for each in models])
    picked = sorted({int(np.argmin(np.abs(logs - np.log(target)))) for target in targets})
    return [models[i] for i in picked] if len(picked) == count else None
