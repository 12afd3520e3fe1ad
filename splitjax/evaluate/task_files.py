"""A task of lm-eval's from a YAML file, read through a schema: settings, fields and templates, nothing that names code.

lm-eval trusts a task's file: it may name functions, modules, scripts that load data and scripts that score. Here only
what is listed passes, and templates are rendered elsewhere (`templates`).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

import yaml

from splitjax.config import UserError, did_you_mean
from splitjax.config.paths import open_record

_BYTES = 1_000_000
"""The most that a task's file may hold."""
_DEPTH, _FILES = 8, 32
"""Of files that include others: how deep, and how many in all."""
METRICS = frozenset({
    "acc", "acc_norm", "acc_bytes", "acc_mutual_info", "bits_per_byte", "bleu", "brier_score", "byte_perplexity",
    "bypass", "chrf", "exact_match", "f1", "likelihood", "mcc", "perplexity", "ter", "word_perplexity",
})
"""Of lm-eval's own: a name that it does not know would be looked up as a script."""
_AGGREGATIONS = frozenset({
    "bits_per_byte", "bleu", "brier_score", "bypass", "chrf", "f1", "matthews_corrcoef", "mean", "median", "nanmean",
    "perplexity", "ter", "weighted_perplexity",
})
_FILTERS = frozenset({
    "lowercase", "majority_vote", "map", "multi_choice_regex", "regex", "remove_whitespace", "take_first",
    "take_first_k", "uppercase",
})
_OUTPUTS = frozenset({"generate_until", "loglikelihood", "loglikelihood_rolling", "multiple_choice"})
_LOADERS = frozenset({"csv", "json", "parquet", "text"})
"""What reads local files without building objects from them."""
_CODE = frozenset({
    "class", "custom_dataset", "doc_to_audio", "doc_to_image", "function", "group", "process_docs", "process_results",
    "python_task", "unsafe_code", "use_prompt",
})
_NEEDED = ("dataset_path", "doc_to_text", "doc_to_target")
_HUB = re.compile(r"\w[\w.-]*/\w[\w.-]*")
_NAME = re.compile(r"\w[\w.+-]{0,99}")


def read(path: str | Path) -> dict[str, Any]:
    """The settings in a task's file and in those that it includes, each checked; its own go before theirs.

    Raises:
        UserError: cannot be read, names something that could run code, or a setting that is not known, does not fit or
            is missing; or includes itself, a file outside its folder, or too many.
    """
    path = Path(path)
    told = _merged(path, path.resolve().parent, (), [])
    if "task" not in told:
        raise UserError("names no 'task'", where=str(path))
    needed = [*_NEEDED, *(["doc_to_choice"] if told.get("output_type") == "multiple_choice" else [])]
    if missing := [key for key in needed if told.get(key) is None]:
        raise UserError(f"has no '{missing[0]}', which a task needs", where=str(path))
    if told.get("test_split") is None and told.get("validation_split") is None:
        raise UserError("has neither 'test_split' nor 'validation_split': one of them is asked", where=str(path))
    return told


def _merged(path: Path, root: Path, above: tuple[Path, ...], files: list[Path]) -> dict[str, Any]:
    """The settings of a file over those of the files that it includes, of which the last goes before the others.

    Args:
        root: the folder in which all of them must lie.
        above: the files that include this one.
        files: read so far; grows.
    """
    files.append(path)
    if len(above) > _DEPTH or len(files) > _FILES:
        raise UserError(f"includes files more than {_DEPTH} deep, or more than {_FILES}", where=str((*above, path)[0]))
    told = _settings_of(path)
    included = told.pop("include", None) or []
    merged: dict[str, Any] = {}
    for name in [included] if isinstance(included, str) else included:
        inner = path.parent / name
        if not inner.resolve().is_relative_to(root):
            raise UserError(f"includes '{name}', which lies outside its task's folder", where=str(path))
        if inner.resolve() in {each.resolve() for each in (*above, path)}:
            raise UserError(f"includes '{name}', which includes it", where=str(path))
        merged |= _merged(inner, root, (*above, path), files)
    return merged | told


def _settings_of(path: Path) -> dict[str, Any]:
    """What one file says, each setting checked."""
    try:
        if not path.exists():
            raise FileNotFoundError("no such file")
        if path.stat().st_size > _BYTES:
            raise UserError(f"more than {_BYTES:,} bytes for a task", where=str(path))
        with open_record(path, _BYTES) as file:
            told = _Loader(file.read().decode()).get_single_data()
    except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:
        raise UserError(f"no task can be read ({' '.join(str(error).split())})", where=str(path)) from None
    if not isinstance(told, dict) or not isinstance(told.get("task", ""), str):
        raise UserError("names no 'task'", where=str(path))
    for key, value in told.items():
        _check(str(path), str(key), value)
    return {str(key): value for key, value in told.items()}


class _Loader(yaml.SafeLoader):
    """Plain values, without aliases: a few lines of them may stand for more than fits in memory."""

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError("aliases are not read")
        return super().compose_node(parent, index)


def _check(where: str, key: str, value: Any) -> None:
    if key in _CODE:
        raise UserError(f"'{key}' could run code, which no file that is read may do", where=where)
    if key not in _SETTINGS:
        raise UserError(f"'{key}' is no setting of a task's file", where=where, mend=did_you_mean(key, _SETTINGS))
    if value is not None:
        try:
            _SETTINGS[key](value)
        except _UnfitError as error:
            raise UserError(f"{error}", where=f"{where}: {key}") from None


class _UnfitError(Exception):
    """What is wrong with a value, in a few words."""


def _text(value: Any) -> None:
    if not isinstance(value, str):
        raise _UnfitError(f"{_short(value)} is no text")


def _number(value: Any) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise _UnfitError(f"{_short(value)} is no number")


def _flag(value: Any) -> None:
    if not isinstance(value, bool):
        raise _UnfitError(f"{_short(value)} is neither true nor false")


def _field(value: Any) -> None:
    """A field's name, a template, or the index of a choice."""
    if not isinstance(value, int) or isinstance(value, bool):
        _text(value)


def _texts(value: Any) -> None:
    for one in value if isinstance(value, list) else [value]:
        _text(one)


def _fields(value: Any) -> None:
    _texts(list(value.values()) if isinstance(value, dict) else value)


def _target(value: Any) -> None:
    for one in value if isinstance(value, list) else [value]:
        _field(one)


def _whole(low: int, high: int) -> Callable[[Any], None]:
    def check(value: Any) -> None:
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            raise _UnfitError(f"{_short(value)} is no whole number from {low} to {high}")

    return check


def _one_of(known: frozenset[str]) -> Callable[[Any], None]:
    def check(value: Any) -> None:
        if value not in known if isinstance(value, str) else True:
            raise _UnfitError(f"{_short(value)} is not one of {', '.join(sorted(known))}")

    return check


def _name(value: Any) -> None:
    _text(value)
    if not _NAME.fullmatch(value):
        raise _UnfitError(f"{_short(value)} is no name of letters, digits and . _ + -")


def _path(value: Any) -> None:
    _text(value)
    if "://" in value or "::" in value:
        raise _UnfitError(f"{_short(value)} is not the path of a local file")


def _paths(value: Any) -> None:
    for one in value.values() if isinstance(value, dict) else [value]:
        for each in one if isinstance(one, list) else [one]:
            _path(each)


def _data(value: Any) -> None:
    """A loader of local files, or a data set of the hub's, which `datasets` 4 and later load without scripts."""
    _text(value)
    if value in _LOADERS:
        return
    if not _HUB.fullmatch(value) or Path(value).exists():
        raise _UnfitError(f"{_short(value)} is neither one of {', '.join(sorted(_LOADERS))} nor owner/name of the hub")
    if int(metadata.version("datasets").partition(".")[0]) < 4:
        raise _UnfitError(f"{_short(value)} could bring a script: only datasets 4 and later run none")


def _plain(value: Any) -> None:
    """Numbers and text, in lists and mappings."""
    if isinstance(value, list | dict):
        for one in value.values() if isinstance(value, dict) else value:
            _plain(one)
        if isinstance(value, dict):
            _texts(list(value))
    elif value is not None and not isinstance(value, str | int | float):
        raise _UnfitError(f"{_short(value)} is neither number nor text")


def _mapping(settings: Mapping[str, Callable[[Any], None]], *, rest: Callable[[Any], None] | None = None,
             needs: str = "") -> Callable[[Any], None]:
    """A mapping of these settings; `rest` takes the others, None refuses them."""

    def check(value: Any) -> None:
        if not isinstance(value, dict):
            raise _UnfitError(f"{_short(value)} is no mapping")
        if needs and needs not in value:
            raise _UnfitError(f"{_short(value)} has no '{needs}'")
        for key, one in value.items():
            if (each := settings.get(key, rest)) is None:
                raise _UnfitError(f"'{key}' is not one of {', '.join(sorted(settings))}")
            each(one)

    return check


def _list_of(each: Callable[[Any], None]) -> Callable[[Any], None]:
    def check(value: Any) -> None:
        if not isinstance(value, list):
            raise _UnfitError(f"{_short(value)} is no list")
        for one in value:
            each(one)

    return check


def _false(value: Any) -> None:
    if value is not False:
        raise _UnfitError("a metric of another library would be a script")


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}…"


_FILTER = _mapping({"function": _one_of(_FILTERS)}, rest=_plain, needs="function")
_METRIC = _mapping({
    "metric": _one_of(METRICS), "aggregation": _one_of(_AGGREGATIONS), "higher_is_better": _flag, "hf_evaluate": _false,
}, rest=_plain, needs="metric")
_LOADING = _mapping({
    "data_files": _paths, "field": _text, "column_names": _texts, "delimiter": _text, "sep": _text, "encoding": _text,
    "sample_by": _text,
})
_GENERATION = _mapping({
    "until": _texts, "max_gen_toks": _whole(1, 1_000_000), "do_sample": _flag, "temperature": _number,
    "top_k": _whole(0, 1_000_000), "top_p": _number,
})
_SETTINGS: dict[str, Callable[[Any], None]] = {
    "include": _texts, "task": _name, "task_alias": _text, "tag": _texts, "metadata": _plain,
    "dataset_path": _data, "dataset_name": _text, "dataset_kwargs": _LOADING,
    "training_split": _text, "validation_split": _text, "test_split": _text, "fewshot_split": _text,
    "doc_to_text": _field, "doc_to_target": _target, "doc_to_choice": _fields, "description": _text,
    "gen_prefix": _text, "target_delimiter": _text, "fewshot_delimiter": _text,
    "num_fewshot": _whole(0, 1000), "fewshot_config": _mapping({
        "sampler": _one_of(frozenset({"default", "first_n"})), "split": _text,
    }),
    "output_type": _one_of(_OUTPUTS), "generation_kwargs": _GENERATION, "repeats": _whole(1, 1000),
    "metric_list": _list_of(_METRIC),
    "filter_list": _list_of(_mapping({"name": _text, "filter": _list_of(_FILTER)}, needs="filter")),
    "should_decontaminate": _flag, "doc_to_decontamination_query": _text,
}
