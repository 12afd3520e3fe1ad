"""Width transfer: which rate a leaf gets, so that a rate tuned at one width serves every width.

Maximal update parametrisation for Adam (Yang et al., Tensor Programs V, 2022), written without run-time
multipliers so that the weights are plain Llama weights: a matrix that reads a wide vector gets
rate · base_width / fan_in; embeddings and norm gains get the rate itself. The initial sizes that go with it
stand in `blocks`. What Muon makes of the multiplier stands in `train.optimizer`.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from splitjax import config


class Group(NamedTuple):
    """How the optimiser treats a leaf: multiplier of the learning rate, whether weight decay applies, and whether it
    holds matrices between hidden layers, which Muon may update."""

    rate: float
    decay: bool
    hidden: bool = False


def group(path: tuple[str, ...], shape: tuple[int, ...], cfg: config.Model, base_width: int | None) -> Group:
    """The group of the leaf at `path`; `shape` may carry leading axes (layers, experts).

    Args:
        base_width: width at which the rate was tuned; None: weights trained elsewhere, whose one rate serves every
            leaf, as in the standard parametrisation they come from.
    """
    if base_width is None:
        return Group(1.0, decay=path[-1] == "kernel", hidden=path[-1] == "kernel" and path[0] == "layers")
    if path[-1] == "kernel":
        return Group(base_width / shape[-2], decay=True, hidden=path[0] == "layers")
    if path[0] == "final_norm" and cfg.tied_embeddings:
        # It carries the 1/D of a tied head (see blocks.Ends), so it moves in proportion.
        return Group(base_width / cfg.d_model, decay=False)
    return Group(1.0, decay=False)


def group_tree(params: dict[str, Any], cfg: config.Model, base_width: int | None) -> dict[str, Any]:
    """The same tree with a Group at every leaf."""

    def walk(node: Any, path: tuple[str, ...]) -> Any:
        if isinstance(node, dict):
            return {name: walk(child, (*path, name)) for name, child in node.items()}
        return group(path, node.shape, cfg, base_width)

    return walk(params, ())
