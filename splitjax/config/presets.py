"""Named model sizes: `model: 310M`, or `model: {preset: 310M, tied_embeddings: true}`."""

from __future__ import annotations

from typing import Any

# Name: parameters without embedding and output head. From 10M on every dimension is a multiple of 256, the tile of
# the widest matrix units (TPU v6e), and from 122M on a head is 128 wide, as flash-attention kernels like best.
PRESETS: dict[str, dict[str, Any]] = {
    "0.3M": {"d_model": 64, "n_layers": 6, "n_heads": 2, "d_ff": 176},
    "1M": {"d_model": 128, "n_layers": 5, "n_heads": 4, "d_ff": 352},
    "2M": {"d_model": 192, "n_layers": 4, "n_heads": 6, "d_ff": 640},
    "10M": {"d_model": 256, "n_layers": 12, "n_heads": 4, "d_ff": 768},
    "30M": {"d_model": 512, "n_layers": 9, "n_heads": 8, "d_ff": 1536},
    "122M": {"d_model": 768, "n_layers": 17, "n_heads": 6, "d_ff": 2048},
    "310M": {"d_model": 1024, "n_layers": 24, "n_heads": 8, "d_ff": 2816},
    "680M": {"d_model": 1536, "n_layers": 24, "n_heads": 12, "d_ff": 4096},
    "937M": {"d_model": 1792, "n_layers": 24, "n_heads": 14, "d_ff": 4864},
    "1.3B": {"d_model": 2048, "n_layers": 25, "n_heads": 16, "d_ff": 5632},
    "2.7B": {"d_model": 2560, "n_layers": 34, "n_heads": 20, "d_ff": 6912},
    "7B": {"d_model": 4096, "n_layers": 32, "n_heads": 32, "d_ff": 11008},
}
