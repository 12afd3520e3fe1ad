"""Settings of the data: sources, tokenizer, domains, shards."""

from __future__ import annotations

import shlex
from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from .settings import Count, Settings

SourceType = Literal["jsonl", "parquet", "huggingface", "text", "tokens", "seqio", "phonebook", "installed_python"]


class Source(Settings):
    """Where documents come from."""

    type: SourceType = Field(description="Kind of source; huggingface: a dataset saved to disk; tokens: arrays of ids.")
    path: str | None = Field(None, description="File, folder or glob, relative to the working directory.")
    text_field: str = Field(
        "text", description="Field of a document's text; data.text is one inside another (jsonl, parquet, huggingface)."
    )
    label_field: str | None = Field("domain", description="Field that holds the label; null for none.")
    label: str | None = Field(None, description="One label for the whole source, instead of label_field.")
    vector_field: str | None = Field(
        None, description="Field that holds an embedding, for domains.vectors=given (jsonl, parquet, huggingface)."
    )
    document: Literal["file", "line"] = Field("file", description="What a document is (text).")
    ids_field: str = Field("input_ids", description="Column that holds a document's ids (tokens, Parquet).")
    dtype: Literal["uint16", "uint32", "int32", "int64"] | None = Field(
        None, description="Type of ids in .bin, which has no header that tells it (tokens)."
    )
    end_id: int | None = Field(None, ge=0, description="Id that ends a document, dropped (tokens).")
    task: str | None = Field(None, description="Registered Task or Mixture (seqio).")
    module: str | None = Field(None, description="Python module whose import registers it (seqio).")
    split: str = Field("train", description="Split of the task to read (seqio); splitjax splits it by document.")
    books: int = Field(4, ge=1, description="Disjoint books, one label each (phonebook).")
    entries: int = Field(500, ge=1, le=500_000, description="Names a book (phonebook).")
    max_chars: Count | None = Field(
        None, description="Keep at most this many characters a domain, chosen by document hash."
    )
    on_error: Literal["stop", "skip"] = Field(
        "stop", description="What a row that cannot be read does: stop the preparation, or be left out and counted."
    )

    @model_validator(mode="before")
    @classmethod
    def _as_it_was(cls, values: Any) -> Any:
        """A config that was stored when every source had a dtype."""
        if isinstance(values, dict) and values.get("type") != "tokens" and values.get("dtype") == "uint16":
            return {key: value for key, value in values.items() if key != "dtype"}
        return values

    @field_validator("label")
    @classmethod
    def _a_name(cls, label: str | None) -> str | None:
        if label is not None and (not label or label != label.strip()):
            raise ValueError(f"'{label}' is no name: it is empty, or space stands around it")
        return label

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
    "jsonl": ({"path"}, {"text_field", "label_field", "vector_field", "on_error"}),
    "parquet": ({"path"}, {"text_field", "label_field", "vector_field", "on_error"}),
    "huggingface": ({"path"}, {"text_field", "label_field", "vector_field", "on_error"}),
    "text": ({"path"}, {"document", "on_error"}),
    "tokens": ({"path"}, {"ids_field", "label_field", "dtype", "end_id", "on_error"}),
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
    min_tokens: Count | None = Field(
        None, ge=1, description="Tokens that a domain must hold beside what the run's windows need; null: only those."
    )
    small: Literal["refuse", "drop", "merge"] = Field(
        "refuse", description="Domains too small are refused, left out, or merged into 'other' (label)."
    )

    @model_validator(mode="after")
    def _labels_where_changed(self) -> Domains:
        if self.small != "refuse" and self.method != "label":
            raise ValueError(f"domains.small={self.small} is for labels: a cluster is what texts are routed to")
        return self

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
    runner: str = Field(
        "local",
        description="local, or an Apache Beam runner and its flags: FlinkRunner --flink_master=…. The output does not "
        "depend on it.",
    )

    @field_validator("runner")
    @classmethod
    def _words(cls, runner: str) -> str:
        if not shlex.split(runner):  # which says itself what is wrong with quotes
            raise ValueError("name a runner: local, or one of Apache Beam's")
        return runner
