"""Path of a leaf → names of its axes: the one table that sharding reads."""

from __future__ import annotations

_KERNELS: dict[str, tuple[str, str]] = {
    "query": ("embed", "heads"),
    "key": ("embed", "kv_heads"),
    "value": ("embed", "kv_heads"),
    "out": ("heads", "embed"),
    "gate": ("embed", "ffn"),
    "up": ("embed", "ffn"),
    "down": ("ffn", "embed"),
    "head": ("embed", "vocab"),
}


def logical_axes(path: tuple[str, ...], ndim: int) -> tuple[str | None, ...]:
    """Axis names of the leaf at `path`; leading axes that the leaf has in a stack are named too.

    Layers come next to the matrix, experts before layers: (expert, layers, embed, heads).

    Raises:
        KeyError: no such leaf.
    """
    own: tuple[str | None, ...]
    if path[-1] == "embedding":
        own = ("vocab", "embed")
    elif path[-1] == "scale" or path[-2:] == ("out", "bias"):
        own = (None,)  # added to the residual stream, whose width no axis cuts
    elif path[-1] == "bias":
        own = _KERNELS[path[-2]][1:]
    else:
        own = _KERNELS[path[-2]]
    leading = ("expert", "layers") if path[0] == "layers" else ("expert",)
    missing = ndim - len(own)
    return (*leading[len(leading) - missing :], *own) if missing else own
