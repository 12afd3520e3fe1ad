"""What a Hugging Face `config.json` says of a model's shape, and which of its features no model here has."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, ValidationError
from typing_extensions import TypedDict  # the form that pydantic can check before Python 3.12

from .errors import UserError
from .model_settings import Model, RopeScaling
from .whole_files import check_shape, read_json

FILE = "config.json"
TOKENIZER = "tokenizer.json"
GENERATION = "generation_config.json"
_KINDS = ("llama", "qwen2", "qwen3")
_ROPE: dict[str, tuple[str, ...]] = {
    "default": (), "linear": ("factor",),
    "llama3": ("factor", "low_freq_factor", "high_freq_factor", "original_max_position_embeddings"),
}
"""Types of rotary positions, with the keys that each needs."""
_ROPE_KEYS = {"rope_type", "type", "rope_theta", "partial_rotary_factor", *_ROPE["llama3"]}
_NEEDED = ("vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size")


class _Told(TypedDict, total=False):
    """Of the keys that are looked at, those whose type matters."""

    vocab_size: Annotated[int, Field(ge=1, lt=1 << 31)]
    rope_parameters: dict[str, Any] | None
    layer_types: list[str] | None
    rope_theta: float | None
    rms_norm_eps: float | None
    num_key_value_heads: int | None
    head_dim: int | None


def read_shape(folder: Path) -> tuple[Model, int]:
    """`model_of_config` of a folder.

    Raises:
        UserError: as it, or no such file.
    """
    if not folder.is_dir():
        raise UserError("no such folder", where=str(folder))
    return model_of_config(read_json(folder / FILE), where=str(folder / FILE))


def model_of_config(told: Mapping[str, Any], where: str = FILE) -> tuple[Model, int]:
    """The shape and vocabulary size that a Hugging Face `config.json` describes.

    Raises:
        UserError: another architecture, or a feature that this model does not have; names the key.
    """
    if not isinstance(told, Mapping):
        raise UserError("not a model's config", where=where)
    kind = told.get("model_type")
    if kind not in _KINDS:
        raise UserError(f"model_type '{kind}' is not supported", where=where, mend=f"Known: {', '.join(_KINDS)}.")
    if missing := [key for key in _NEEDED if not isinstance(told.get(key), int)]:
        raise UserError(f"'{missing[0]}' is missing or no whole number", where=where)
    check_shape({key: told[key] for key in told.keys() & _Told.__annotations__.keys()}, _Told, where)
    unwanted = {
        "hidden_act": told.get("hidden_act", "silu") != "silu",
        "mlp_bias": bool(told.get("mlp_bias")),
        "use_sliding_window": bool(told.get("use_sliding_window")),
        "layer_types": any(kind != "full_attention" for kind in told.get("layer_types") or ()),
        "partial_rotary_factor": (told.get("partial_rotary_factor") or 1) != 1,
        "quantization_config": bool(told.get("quantization_config")),
    }
    if found := [key for key, present in unwanted.items() if present]:
        raise UserError(f"'{found[0]}' asks for a feature that this model does not have", where=where)
    theta, scaling = _rope(told, where)
    try:
        shape = Model(
            d_model=told["hidden_size"],
            n_layers=told["num_hidden_layers"],
            n_heads=told["num_attention_heads"],
            n_kv_heads=told.get("num_key_value_heads"),
            head_dim=told.get("head_dim"),
            d_ff=told["intermediate_size"],
            qk_norm=kind == "qwen3",
            tied_embeddings=bool(told.get("tie_word_embeddings")),
            attention_bias="qkv" if kind == "qwen2" else "all" if told.get("attention_bias") else None,
            rope_theta=theta,
            rope_scaling=scaling,
            norm_eps=float(told.get("rms_norm_eps") or 1e-6),
        )
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False)[0]
        part = ".".join(map(str, first["loc"]))
        raise UserError(f"describes no model of this kind ({part}: {first['msg']:.200})", where=where) from None
    except (TypeError, ValueError, OverflowError) as error:
        raise UserError(f"describes no model of this kind ({error!s:.200})", where=where) from None
    return shape, told["vocab_size"]


def _rope(told: Mapping[str, Any], where: str) -> tuple[float, RopeScaling | None]:
    """Base and scaling of the rotary positions, read where transformers reads them.

    Raises:
        UserError: another type, a key that is not known, or a value that does not fit; names the key.
    """
    key = "rope_scaling" if told.get("rope_scaling") else "rope_parameters"
    rope = told.get(key) or {}
    if not isinstance(rope, Mapping):
        raise UserError(f"'{key}' is {rope!r:.60}, no mapping", where=where)
    kind = rope.get("rope_type", rope.get("type", "default"))
    if not isinstance(kind, str) or kind not in _ROPE:
        raise UserError(f"'{key}' of type '{kind}' asks for a feature that this model does not have", where=where,
                        mend=f"Known: {', '.join(_ROPE)}.")
    if strange := sorted(map(str, rope.keys() - _ROPE_KEYS)):
        raise UserError(f"'{key}.{strange[0]}' is not known", where=where)
    if (rope.get("partial_rotary_factor") or 1) != 1:
        raise UserError(f"'{key}.partial_rotary_factor' asks for a feature that this model does not have", where=where)
    values = {name: rope.get(name) for name in _ROPE[kind]}
    if "original_max_position_embeddings" in values:  # some writers put it beside, older ones nowhere
        name = "original_max_position_embeddings"
        values[name] = told.get(name) or values[name] or told.get("max_position_embeddings")
    base = rope.get("rope_theta") or told.get("rope_theta") or 10_000.0
    for name, value in ({"rope_theta": base} | {f"{key}.{name}": value for name, value in values.items()}).items():
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < 1e308:
            wrong = "missing" if value is None else f"{value!r:.60}, no number above 0"
            raise UserError(f"'{name}' is {wrong}", where=where)
    try:
        return float(base), None if kind == "default" else RopeScaling.model_validate({"type": kind} | values)
    except ValidationError as error:
        what = error.errors()[0]["msg"].removeprefix("Value error, ")
        raise UserError(f"'{key}': {what}", where=where) from None


def end_token_of(folder: Path) -> str | None:
    """The token that the folder's makers put before a text, else the one that ends it; None where it names none.

    A document of ours begins with one token and ends where the next begins, so a model that was trained with a token
    at the head of each text meets that one.
    """
    path = folder / "tokenizer_config.json"
    told = read_json(path) if path.is_file() else {}
    names = [_content(told.get(key)) for key in ("bos_token", "eos_token")] if isinstance(told, dict) else []
    tree = read_json(folder / TOKENIZER)
    try:
        special = [token["content"] for token in tree["added_tokens"]]
        first = [part["SpecialToken"]["id"] for part in _template(tree) if "SpecialToken" in part][:1]
    except (KeyError, TypeError, AttributeError):
        return None  # `adopt` says what is wrong with it
    return next((name for name in (*first, *reversed(names)) if name in special), None)


def eos_ids(folder: Path) -> list[int]:
    """The ids that end a text by the folder's `config.json` and `generation_config.json`; each a number or a list.

    Raises:
        UserError: something else; names the file.
    """
    found: set[int] = set()
    for path in (folder / FILE, folder / GENERATION):
        told = read_json(path) if path.is_file() else {}
        ids = told.get("eos_token_id") if isinstance(told, dict) else None
        listed = ids if isinstance(ids, list) else [] if ids is None else [ids]
        if not all(isinstance(index, int) and not isinstance(index, bool) for index in listed):
            raise UserError(f"eos_token_id is {ids!r:.60}, neither an id nor a list of ids", where=str(path))
        found |= set(listed)
    return sorted(found)


def _template(tree: Any) -> list[Any]:
    """What the post-processor makes of one text, up to the text itself."""
    processor = tree.get("post_processor") or {}
    steps = processor.get("processors", [processor])
    found = [step["single"] for step in steps if step.get("type") == "TemplateProcessing"]
    parts = found[0] if found else []
    return parts[: next((i for i, part in enumerate(parts) if "Sequence" in part), 0)]


def _content(token: Any) -> str | None:
    return token.get("content") if isinstance(token, dict) else token
