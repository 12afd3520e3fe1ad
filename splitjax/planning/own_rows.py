"""Steps of ours as measured on cards, to which the predictor is held: its efficiency there, and its memory."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class OwnRow:
    """One row of `tools/bench_card.py`: configs/bench/gpu_2048.yaml (bfloat16, sequence 2048, vocabulary 32,768, tied,
    no query and key norm) without recomputation, windows of documents of 700 tokens in the mean.

    Attributes:
        model: preset.
        batch_size: windows of an expert.
        experts: stacked.
        step_time: seconds.
        memory: GiB at its highest.
        commit: that was measured.
    """

    chip: str
    model: str
    batch_size: int
    experts: int
    step_time: float
    memory: float
    commit: str


OWN_ROWS = (
    OwnRow("h200", "1.3B", 16, 1, 0.4955, 84.3, "8a6594c"),
    OwnRow("h200", "1.3B", 8, 1, 0.2619, 51.1, "eb8f7a0"),
    OwnRow("h200", "122M", 16, 1, 0.0772, 20.8, "8a6594c"),
    OwnRow("h200", "122M", 32, 1, 0.1449, 39.4, "8a6594c"),
    OwnRow("h200", "122M", 4, 8, 0.1542, 53.8, "8a6594c"),
    OwnRow("h200", "122M", 4, 1, 0.2119 / 8, 6.8, "8a6594c"),
)
