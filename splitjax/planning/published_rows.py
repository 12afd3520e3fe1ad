"""Published training throughput, to which the one efficiency of a chip is fitted."""

from __future__ import annotations

from dataclasses import dataclass

from splitjax.config import Model
from splitjax.model import flops_per_token, n_params_total, work
from splitjax.parallel import CHIPS, Times

_OTHERS = {"h100": 0.56}
"""Efficiency of others' programs where ours is measured (see `own_rows`)."""


@dataclass(frozen=True)
class Row:
    """One published measurement.

    Attributes:
        devices: that shared the weights.
        tokens: of a device between two reads of the weights (micro batch × sequence).
        remat: `none`, `full`, or what part of a block was computed again.
        tokens_per_s: of a device, as published.
    """

    name: str
    source: str
    chip: str
    model: Model
    vocab: int
    seq_len: int
    devices: int
    tokens: int
    remat: str
    tokens_per_s: float

    def predicted(self) -> float:
        """Tokens/s of a device by the roofline, network hidden."""
        chip = CHIPS[self.chip]
        attention = "splash" if chip.is_tpu else "cudnn"
        kind: work.Remat = "full" if self.remat == "full" else "none" if chip.ring == 0 else "dots"
        again = work.recomputed_flops_per_token(self.model, self.seq_len, kind, attention) + self._again()
        hbm = work.traffic_per_token(self.model, self.vocab, "full" if self.remat == "full" else "none")
        hbm += work.traffic_per_step(n_params_total(self.model, self.vocab), self.devices) / self.tokens
        useful = flops_per_token(self.model, self.vocab, self.seq_len)
        times = Times.of(chip, flops=useful + again, hbm_bytes=hbm, sent={}, bandwidth={})
        return 1.0 / times.step(_OTHERS.get(self.chip, chip.efficiency))

    def _again(self) -> float:
        """FLOPs a token of what these rows computed again beside kernels."""
        if self.remat == "gate and up":
            return 4.0 * self.model.n_layers * self.model.d_model * self.model.width_of_ffn
        if self.remat == "every second product":
            return 1.0 * self.model.n_layers * work.layer_weights(self.model)
        return 0.0


def _mpt(width: int, layers: int, heads: int) -> Model:
    """An ungated feed-forward layer of 4 D has the products of a gated one of 8/3 D."""
    return Model(d_model=width, n_layers=layers, n_heads=heads, d_ff=8 * width // 3, tied_embeddings=True)


_LLAMA2 = Model(d_model=4096, n_layers=32, n_heads=32, d_ff=11008)
_LLAMA3 = Model(d_model=4096, n_layers=32, n_heads=32, n_kv_heads=8, d_ff=14336)
_16B = Model(d_model=4096, n_layers=32, n_heads=64, head_dim=128, d_ff=28672)
_32B = Model(d_model=8192, n_layers=32, n_heads=64, head_dim=128, d_ff=28672)


def _from_full_mfu(model: Model, mfu: float) -> float:
    """Tokens/s of a v5e from an MFU that counts unmasked attention, vocabulary 32,000, sequence 2048."""
    attention = 6.0 * model.n_layers * model.n_heads * model.width_of_head * 2048
    return mfu * CHIPS["v5e"].flops / (flops_per_token(model, 32000, 2048) + attention)


ROWS = (
    Row("MPT 760M", "llm-foundry", "h100", _mpt(1536, 24, 12), 50368, 2048, 8, 24 * 2048, "none", 63147),
    Row("MPT 1B", "llm-foundry", "h100", _mpt(2048, 24, 16), 50368, 2048, 8, 14 * 2048, "none", 45455),
    Row("MPT 3B", "llm-foundry", "h100", _mpt(2560, 32, 20), 50368, 4096, 8, 5 * 4096, "none", 20964),
    Row("MPT 7B", "llm-foundry", "h100", _mpt(4096, 32, 32), 50368, 2048, 8, 6 * 2048, "none", 10643),
    Row("Llama2-7B", "MaxText", "h100", _LLAMA2, 32000, 4096, 8, 4 * 4096, "none", 10490),
    Row("Llama2-7B", "AXLearn", "h100", _LLAMA2, 32000, 4096, 256, 4 * 4096, "none", 11703),
    Row("Llama3.1-8B", "torchtitan", "h100", _LLAMA3, 128256, 8192, 8, 8192, "every second product", 6667),
    Row("Llama2-7B", "AXLearn", "v5p", _LLAMA2, 32000, 4096, 256, 4 * 4096, "gate and up", 6554),
    Row("16B", "MaxText", "v5e", _16B, 32000, 2048, 256, 6 * 2048, "full", _from_full_mfu(_16B, 0.61)),
    Row("32B", "MaxText", "v5e", _32B, 32000, 2048, 256, 4 * 2048, "full", _from_full_mfu(_32B, 0.67)),
    Row("Llama3.1-8B", "tpu-recipes", "v6e", _LLAMA3, 128256, 8192, 256, 4 * 8192, "gate and up", 7247),
)
"""llm-foundry: scripts/train/benchmarking/README.md; MaxText: GPU scripts, configs/v5e and its README; AXLearn: its
paper, derived; torchtitan: its benchmarks; tpu-recipes. Batch and recomputation as those say; where they say nothing
(AXLearn), four windows, and on TPU the policy of its published recipe, which keeps query, key, value and output."""
