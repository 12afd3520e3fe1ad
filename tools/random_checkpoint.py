#!/usr/bin/env python
"""Make a Hugging Face folder with random weights: something to continue from where no checkpoint is at hand.

    python tools/random_checkpoint.py runs/random_1m [--type qwen2 | qwen3 | llama3] [--dtype bfloat16]

About a million parameters. The tokenizer is trained on the docstrings and code of Python's own library. Like many a
checkpoint's, its end token is not id 0 and its embedding has more rows than the tokenizer has tokens.
"""

from __future__ import annotations

import argparse
import json
import sysconfig
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from splitjax import config
from splitjax.model import LanguageModel, huggingface_config, to_huggingface
from splitjax.model.weights import write_weights

VOCAB, ROWS = 2000, 2048
LLAMA3 = config.RopeScaling(
    type="llama3", factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0, original_max_position_embeddings=256
)
"""As Llama 3.1 has it, for shorter contexts."""


def sample() -> Iterator[str]:
    """Files of the standard library, sorted, up to 2 MB."""
    left = 2_000_000
    for path in sorted(Path(sysconfig.get_paths()["stdlib"]).glob("*.py")):
        text = path.read_text(encoding="utf-8", errors="replace")
        if left > 0:
            yield text[:left]
        left -= len(text)


def write_tokenizer(folder: Path) -> None:
    """Byte-level BPE with <unk>, <s>, </s> at ids 0 to 2; a text begins with <s>."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers

    fast = Tokenizer(models.BPE())
    fast.pre_tokenizer, fast.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCAB, special_tokens=["<unk>", "<s>", "</s>"], show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )
    fast.train_from_iterator(sample(), trainer)
    fast.post_processor = processors.TemplateProcessing("<s> $A", special_tokens=[("<s>", 1)])
    fast.save(str(folder / "tokenizer.json"))
    told = {"tokenizer_class": "PreTrainedTokenizerFast", "bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
    (folder / "tokenizer_config.json").write_text(json.dumps(told, indent=1) + "\n")


def random_tensors(shape: config.Model, seed: int) -> Iterator[tuple[str, np.ndarray]]:
    """Matrices of standard deviation 0.02, gains near 1: what a fresh checkpoint of these classes holds."""
    import jax

    like = jax.eval_shape(LanguageModel(shape, ROWS).init, jax.random.key(0))
    rng = np.random.default_rng(seed)
    for name, tensor in to_huggingface(jax.tree.map(lambda leaf: np.empty(leaf.shape, np.float32), like)).items():
        noise = rng.normal(0.0, 0.02, tensor.shape).astype(np.float32)
        yield name, noise + 1 if name.endswith("norm.weight") else noise


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--type", choices=("llama", "llama3", "qwen2", "qwen3"), default="llama")
    parser.add_argument("--tied", action="store_true", help="the head is the embedding")
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), default="float32")
    parser.add_argument("--shard-bytes", type=int, default=10**9, help="the most that a weight file holds")
    parser.add_argument("--width", type=int, default=112)
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    shape = config.Model(d_model=args.width, n_layers=args.layers, n_heads=4, n_kv_heads=2,
                         qk_norm=args.type == "qwen3", tied_embeddings=args.tied,
                         attention_bias="qkv" if args.type == "qwen2" else None,
                         rope_scaling=LLAMA3 if args.type == "llama3" else None)
    args.folder.mkdir(parents=True)
    special = {"bos_token_id": 1, "eos_token_id": 2}
    described = huggingface_config(shape, ROWS, 1024) | special | {"torch_dtype": args.dtype}
    (args.folder / "config.json").write_text(json.dumps(described, indent=1) + "\n")
    write_tokenizer(args.folder)
    write_weights(args.folder, random_tensors(shape, args.seed), args.dtype, args.shard_bytes)


if __name__ == "__main__":
    main()
