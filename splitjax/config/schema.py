"""Every setting of a run, typed, frozen and strict. No JAX here: reading a config must be instant."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer, model_validator

from .presets import expand
from .units import PerParam, exact_count, parse_count


def _whole(value: object) -> int:
    count = parse_count(value)
    if isinstance(count, PerParam):
        raise ValueError(f"{count} is relative to a model; give an absolute count here")
    return count


def _dump_count(value: int | PerParam) -> int | str:
    return str(value) if isinstance(value, PerParam) else value


def _split(value: object) -> object:
    """A split: null, a fraction 0-1, or tokens with a unit."""
    if value is None or (isinstance(value, float) and 0 <= value <= 1):
        return value
    if isinstance(value, int) and not isinstance(value, bool) and value in (0, 1):
        return float(value)
    if isinstance(value, str):
        try:
            fraction = float(value)
        except ValueError:
            return _whole(value)
        if 0 <= fraction <= 1:
            return fraction
    raise ValueError(f"{value!r} is neither a fraction from 0 to 1 nor tokens with a unit such as 2M")


def _dump_split(value: float | int | None) -> float | str | None:
    return exact_count(value) if isinstance(value, int) else value


Count = Annotated[int, BeforeValidator(_whole)]
"""A whole count; accepts "40M"."""
TokenCount = Annotated[
    int | PerParam, BeforeValidator(parse_count), PlainSerializer(_dump_count, return_type=int | str)
]
"""Tokens, absolute ("40M") or per parameter ("20x")."""
Split = Annotated[float | int | None, BeforeValidator(_split), PlainSerializer(_dump_split)]
"""A float is a fraction of T, an int is tokens."""
Fraction = Annotated[float, Field(ge=0.0, le=1.0)]


class Settings(BaseModel):
    """Base of every section: unknown keys refused, values frozen, nothing converted silently."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, strict=True, allow_inf_nan=False,
        arbitrary_types_allowed=True, protected_namespaces=(),
    )  # fmt: skip

    @model_validator(mode="before")
    @classmethod
    def _freeze_lists(cls, values: Any) -> Any:
        """YAML and JSON have lists where the settings hold tuples."""
        if not isinstance(values, dict):
            return values
        return {key: tuple(value) if isinstance(value, list) else value for key, value in values.items()}


SourceType = Literal["jsonl", "parquet", "huggingface", "text", "tokens", "seqio", "phonebook", "installed_python"]


class Source(Settings):
    """Where documents come from."""

    type: SourceType = Field(description="Kind of source; huggingface: a dataset saved to disk; tokens: arrays of ids.")
    path: str | None = Field(None, description="File, folder or glob, relative to the working directory.")
    text_field: str = Field("text", description="Field that holds a document's text (jsonl, parquet, huggingface).")
    label_field: str | None = Field("domain", description="Field that holds the label; null for none.")
    label: str | None = Field(None, description="One label for the whole source, instead of label_field.")
    vector_field: str | None = Field(
        None, description="Field that holds an embedding, for domains.vectors=given (jsonl, parquet, huggingface)."
    )
    document: Literal["file", "line"] = Field("file", description="What a document is (text).")
    ids_field: str = Field("input_ids", description="Column that holds a document's ids (tokens, Parquet).")
    dtype: Literal["uint16", "uint32", "int32", "int64"] = Field("uint16", description="Type of ids in .bin (tokens).")
    end_id: int | None = Field(None, ge=0, description="Id that ends a document, dropped (tokens).")
    task: str | None = Field(None, description="Registered Task or Mixture (seqio).")
    module: str | None = Field(None, description="Python module whose import registers it (seqio).")
    split: str = Field("train", description="Split of the task to read (seqio); splitjax splits it by document.")
    books: int = Field(4, ge=1, description="Disjoint books, one label each (phonebook).")
    entries: int = Field(500, ge=1, description="Names a book (phonebook).")
    max_chars: Count | None = Field(
        None, description="Keep at most this many characters a domain, chosen by document hash."
    )

    @model_validator(mode="after")
    def _keys_of_its_type(self) -> Source:
        needed, optional = _SOURCE_KEYS[self.type]
        for key in needed:
            if getattr(self, key) is None:
                raise ValueError(f"a {self.type} source needs '{key}'")
        for key, field in type(self).model_fields.items():
            if key not in {"type", "label", "max_chars", *needed, *optional} and getattr(self, key) != field.default:
                raise ValueError(f"a source of type {self.type} takes no '{key}'")
        return self


# Keys of each kind of source: needed, optional.
_SOURCE_KEYS: dict[str, tuple[set[str], set[str]]] = {
    "jsonl": ({"path"}, {"text_field", "label_field", "vector_field"}),
    "parquet": ({"path"}, {"text_field", "label_field", "vector_field"}),
    "huggingface": ({"path"}, {"text_field", "label_field", "vector_field"}),
    "text": ({"path"}, {"document"}),
    "tokens": ({"path"}, {"ids_field", "label_field", "dtype", "end_id"}),
    "seqio": ({"task", "module"}, {"split"}),
    "phonebook": (set(), {"books", "entries"}),
    "installed_python": (set(), set()),
}


class Tokenizer(Settings):
    """How text becomes tokens."""

    type: Literal["bpe", "bytes", "huggingface", "sentencepiece"] = Field(
        "bpe",
        description="bpe: byte-level BPE trained on the train split; bytes: one token a byte; huggingface: a "
        "tokenizer.json; sentencepiece: a .model, or trained where no path is given.",
    )
    path: str | None = Field(None, description="tokenizer.json (huggingface) or .model (sentencepiece).")
    end_token: str | None = Field(
        None, description="Token that ends a document; null looks for the usual names (huggingface)."
    )
    vocab_size: Count = Field(4096, ge=257, description="Vocabulary to train, special token included.")
    sample_chars: Count = Field(20_000_000, ge=1000, description="Characters of a hash-chosen sample to fit on.")

    @model_validator(mode="after")
    def _path_where_needed(self) -> Tokenizer:
        if self.type == "huggingface" and self.path is None:
            raise ValueError("a huggingface tokenizer needs 'path'")
        if self.type in ("bpe", "bytes") and self.path is not None:
            raise ValueError(f"a {self.type} tokenizer takes no 'path'")
        if self.type != "huggingface" and self.end_token is not None:
            raise ValueError(f"a {self.type} tokenizer takes no 'end_token'")
        return self


class Domains(Settings):
    """How documents become domains."""

    method: Literal["label", "kmeans", "balanced"] = Field(
        "label", description="label: the source's own; kmeans, balanced: clusters of TF-IDF vectors."
    )
    k: int | None = Field(None, ge=1, description="Clusters; for label, the number expected (null: as found).")
    cap: float = Field(1.05, ge=1.0, description="Largest cluster over the mean, in tokens (balanced).")
    vectors: Literal["tfidf", "given"] = Field(
        "tfidf", description="What is clustered: TF-IDF of the text, or each source's vector_field."
    )
    features: Count = Field(16384, ge=16, description="TF-IDF vocabulary of the clusterer.")
    dims: int = Field(100, ge=2, description="SVD dimensions of the clusterer.")
    sample_docs: Count = Field(20_000, ge=10, description="Documents of a hash-chosen sample to fit the clusterer on.")

    @model_validator(mode="after")
    def _k_where_needed(self) -> Domains:
        if self.method != "label" and self.k is None:
            raise ValueError(f"domains.method={self.method} needs domains.k")
        return self


class Data(Settings):
    """Corpus, tokenizer, domains, shards."""

    sources: tuple[Source, ...] = Field(min_length=1, description="Where documents come from.")
    tokenizer: Tokenizer = Tokenizer()
    domains: Domains = Domains()
    validation: float = Field(0.05, gt=0, lt=0.5, description="Share of documents (by hash) for validation.")
    test: float = Field(0.05, gt=0, lt=0.5, description="Share of documents (by hash) for test.")
    shards: int = Field(1, ge=1, description="ArrayRecord shards a domain and split.")
    near_duplicates: float | None = Field(
        0.8, gt=0, le=1, description="Jaccard similarity (MinHash) from which the later of two documents is dropped."
    )
    workers: int = Field(1, ge=1, description="Processes that prepare; the output does not depend on it.")
    runner: str = Field("local", description="local, or an Apache Beam runner; the output does not depend on it.")
    runner_options: tuple[str, ...] = Field((), description="Options of the Beam runner, such as --runner_endpoint=….")


class Model(Settings):
    """A decoder-only transformer of the Llama/Qwen3 family; a preset's name stands for its sizes."""

    d_model: int = Field(128, ge=8, description="Residual width.")
    n_layers: int = Field(4, ge=1, description="Blocks.")
    n_heads: int = Field(4, ge=1, description="Query heads.")
    n_kv_heads: int | None = Field(None, ge=1, description="Key/value heads (null: as many as n_heads).")
    head_dim: int | None = Field(None, ge=2, description="Width of a head (null: d_model / n_heads).")
    d_ff: int | None = Field(None, ge=8, description="SwiGLU width (null: 8/3 d_model, up to a multiple of 16).")
    qk_norm: bool = Field(True, description="RMS-normalise queries and keys (Qwen3).")
    tied_embeddings: bool = Field(False, description="Output head shares the embedding.")
    rope_theta: float = Field(10_000.0, gt=0, description="RoPE base.")
    norm_eps: float = Field(1e-6, gt=0, description="Added to the mean square in every RMSNorm.")

    @model_validator(mode="before")
    @classmethod
    def _preset(cls, value: Any) -> Any:
        return expand(value)

    @model_validator(mode="after")
    def _shapes_fit(self) -> Model:
        if self.head_dim is None and self.d_model % self.n_heads:
            raise ValueError(f"n_heads={self.n_heads} does not divide d_model={self.d_model}; give head_dim")
        if self.n_heads % self.kv_heads:
            raise ValueError(f"n_kv_heads={self.kv_heads} does not divide n_heads={self.n_heads}")
        if self.width_of_head % 2:
            raise ValueError(f"head_dim={self.width_of_head} is odd; RoPE rotates pairs")
        return self

    @property
    def kv_heads(self) -> int:
        return self.n_kv_heads or self.n_heads

    @property
    def width_of_head(self) -> int:
        return self.head_dim or self.d_model // self.n_heads

    @property
    def width_of_ffn(self) -> int:
        return self.d_ff or -(-8 * self.d_model // 3 // 16) * 16


class Train(Settings):
    """One recipe for every phase: trunks, branches, experts, baselines."""

    seq_len: int = Field(256, ge=8, description="Tokens a window (S).")
    batch_size: int = Field(16, ge=1, description="Windows a step and model (B).")
    optimizer: Literal["adamw"] = Field("adamw", description="Update rule.")
    learning_rate: float = Field(
        4e-3, gt=0, description="Peak rate at base_width; matrices get rate · base_width / fan-in."
    )
    base_width: int = Field(128, ge=8, description="d_model at which learning_rate was tuned.")
    weight_decay: float = Field(0.1, ge=0, description="Decoupled decay of matrices, times the rate.")
    beta1: float = Field(0.9, ge=0, lt=1, description="AdamW.")
    beta2: float = Field(0.98, ge=0, lt=1, description="AdamW.")
    clip: float = Field(1.0, gt=0, description="Global gradient-norm clip of each expert.")
    spike: float | None = Field(
        None, gt=1, description="Skip a step whose gradient norm is above this times its running mean (null: never)."
    )
    z_loss: float = Field(1e-4, ge=0, description="Weight of log²Z in the training loss (never in reported losses).")
    warmup: Count = Field(100_000, ge=0, description="Tokens of linear warm-up, from token 0 of a path.")
    decay_fraction: float = Field(0.2, gt=0, le=1, description="Share of the path D + D' that decays the rate.")
    precision: Literal["float32", "bfloat16"] = Field("float32", description="Compute type; masters stay float32.")
    attention: Literal["auto", "xla", "splash"] = Field("auto", description="splash: on TPU; xla: anywhere.")
    layers: Literal["unroll", "scan"] = Field("unroll", description="scan compiles one block instead of n_layers.")
    remat: Literal["none", "full", "dots", "dots_no_batch", "offload"] = Field(
        "none", description="What backward recomputes: full: all but block inputs; dots: all but products; "
        "dots_no_batch: all but products with weights; offload: named tensors wait in host memory."
    )
    loss_blocks: int | None = Field(
        None, ge=1, description="Blocks of positions in the vocabulary loss (null: of about 512 tokens each)."
    )
    checkpoint_minutes: float = Field(
        10.0, gt=0, description="Minutes between temporary checkpoints; the next checkpoint replaces them."
    )
    keep_every: Count | None = Field(
        None, ge=1, description="Tokens of a path between checkpoints kept besides splits and ends (null: none)."
    )
    placement: Literal["stacked", "serial"] = Field(
        "stacked", description="stacked: all experts in one program; serial: one after another, the rest on disk."
    )
    domain_stream: Literal["continue", "restart"] = Field(
        "continue", description="An expert's text: from where the trunk left its domain, or from its beginning again."
    )
    expert_loop: Literal["auto", "vmap", "scan"] = Field("auto", description="How a device steps through its experts.")


class Budget(Settings):
    """What may be spent."""

    tokens: TokenCount = Field(description="T: training tokens, under the accounting below.")
    accounting: Literal["total", "per_model"] = Field(
        "total", description="total: T = D + K·D' over all models; per_model: T = D + D' seen by each expert."
    )


class Sweep(Settings):
    """The small runs that feed the law: every model × D × D', each ending in its own decay."""

    models: tuple[Model, ...] = Field(min_length=1, description="Sizes N.")
    d_pretrain: tuple[TokenCount, ...] = Field(min_length=1, description="Mixture tokens D; 0: experts from step 0.")
    d_special: tuple[TokenCount, ...] = Field(min_length=1, description="Domain tokens D' an expert; 0: no split.")
    min_path: Count = Field(0, description="Leave out cells with D + D' below this: hardly out of the warm-up.")


class Law(Settings):
    """How the law is fitted and chosen."""

    families: tuple[str, ...] = Field(("auto",), description="Families to compare; auto: all that apply.")
    loss: Literal["huber", "squared"] = Field("huber", description="Huber (1e-3) on log residuals, or squared.")
    bootstrap: int = Field(200, ge=10, description="Bootstrap draws behind the intervals.")


class Evaluate(Settings):
    """What is measured at the end, on the test split."""

    windows: int = Field(64, ge=1, description="Held-out windows a domain, the same for every model.")
    prefix: int = Field(64, ge=1, description="Tokens a router reads; routed losses are scored after them.")
    compare: tuple[Fraction, ...] = Field(
        (), description="Further split fractions to train beside the plan, dense and 80/20."
    )


class Config(Settings):
    """A run."""

    name: str = Field("run", pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", description="Name of the run.")
    run_dir: str | None = Field(None, description="Folder of the run (null: runs/<name>).")
    seed: int = Field(0, ge=0, lt=2**31, description="Seed of initialisation and data order.")
    data: Data
    model: Model = Model()
    train: Train = Train()
    budget: Budget
    split: Split = Field(None, description="Fraction of T or tokens; null lets the plan decide.")
    sweep: Sweep | None = Field(None, description="Small runs for the law.")
    law: Law = Law()
    evaluate: Evaluate = Evaluate()

    @model_validator(mode="after")
    def _consistent(self) -> Config:
        if self.evaluate.prefix >= self.train.seq_len:
            raise ValueError("evaluate.prefix must be shorter than train.seq_len")
        if self.sweep is None and self.split is None:
            raise ValueError("give a 'sweep' for the law to pick the split, or an explicit 'split'")
        return self

    @property
    def folder(self) -> str:
        return self.run_dir or f"runs/{self.name}"

    def resolved(self) -> dict[str, Any]:
        """A plain dict, defaults and folder filled in; it reads back as a Config that resolves to the same."""
        return self.model_dump(mode="json") | {"run_dir": self.folder}
