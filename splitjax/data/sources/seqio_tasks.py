"""seqio Tasks and Mixtures, through seqio's own registry. TensorFlow is loaded here and stays out of training."""

from __future__ import annotations

import glob
import importlib
import inspect
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from splitjax.config import Source, UserError, did_you_mean, hash_file, hash_json

from ..documents import Document
from ..tokenizing.tokenizer import Tokenizer
from .rows import Skips


def parts(source: Source) -> list[str]:
    """Names of the tasks: one for a Task, several for a Mixture."""
    return sorted(task.name for task in _tasks(source))


def identity(source: Source, part: str) -> str:
    """Hash of the module that registers the task, and of the files that the task reads."""
    patterns = getattr(_task(source, part).source, "_split_to_filepattern", {}).get(source.split, ())
    patterns = [patterns] if isinstance(patterns, str) else list(patterns)
    files = sorted(file for pattern in patterns for file in glob.glob(str(pattern)))
    module = inspect.getsourcefile(sys.modules[source.module or ""])
    return hash_json([part, source.split, *(hash_file(path) for path in [module, *files] if path)])


def rates(source: Source) -> dict[str, float]:
    """A Mixture's rate of examples by task; empty for a Task."""
    import seqio

    mixture = _registered(source)
    if not isinstance(mixture, seqio.Mixture):
        return {}
    return {task.name: float(mixture.get_rate(task)) for task in mixture.tasks}


def read(source: Source, part: str, tokenizer: Tokenizer | None, skips: Skips) -> Iterator[Document]:
    """Examples in their order, before any mixing: inputs and targets one after the other.

    Where `tokenizer` is the task's own SentencePiece model, the ids are the task's, its end of sequence left off;
    else its text is tokenised like any other.
    """
    task = _task(source, part)
    features = [name for name in ("inputs", "targets") if name in task.output_features]
    vocabulary = task.output_features["targets"].vocabulary
    same = tokenizer is not None and _model_of(vocabulary) == tokenizer.data
    label = part if source.label is None else source.label
    examples = task.get_dataset(
        sequence_length=None, split=source.split, shuffle=False, use_cached=False, num_epochs=1
    )
    for number, example in enumerate(examples.as_numpy_iterator(), 1):
        pieces = [_without_end(example[name], vocabulary) for name in features]
        text = "".join(_text(example, name, piece, vocabulary) for name, piece in zip(features, pieces, strict=True))
        if same and tokenizer is not None:
            yield Document(text.encode(), label, tokenizer.text_ids(np.concatenate(pieces), f"{part}:{number}"))
        else:
            yield Document(text.encode(), label)


def _text(example: dict[str, Any], name: str, ids: NDArray[np.integer], vocabulary: Any) -> str:
    raw = example.get(f"{name}_pretokenized")
    return raw.decode() if isinstance(raw, bytes) else vocabulary.decode(ids.tolist())


def _without_end(ids: NDArray[np.integer], vocabulary: Any) -> NDArray[np.integer]:
    return ids[:-1] if len(ids) and ids[-1] == vocabulary.eos_id else ids


def _model_of(vocabulary: Any) -> bytes | None:
    """The file of a SentencePiece vocabulary; None for another kind."""
    path = getattr(vocabulary, "sentencepiece_model_file", None)
    return Path(path).read_bytes() if path and Path(path).is_file() else None


def _tasks(source: Source) -> list[Any]:
    import seqio

    found = _registered(source)
    return list(found.tasks) if isinstance(found, seqio.Mixture) else [found]


def _task(source: Source, part: str) -> Any:
    return next(task for task in _tasks(source) if task.name == part)


def _registered(source: Source) -> Any:
    """The Task or Mixture, after the import that registers it.

    Raises:
        UserError: no such module, or nothing of that name in the registry.
    """
    try:
        import seqio
        import tensorflow
    except ImportError as error:
        raise UserError(f"seqio is not installed ({error})", where="data.sources", mend="pip install seqio") from None
    tensorflow.config.set_visible_devices([], "GPU")  # they are the trainer's
    name, module = source.task or "", source.module or ""
    if module not in sys.modules:
        sys.path.append(os.getcwd())  # where a user's own module lies; last, so that no ./numpy.py is run for numpy
        try:
            importlib.import_module(module)
        except Exception as error:  # whatever the user's own module does wrong
            raise UserError(f"cannot import '{module}' ({error!r})", where="data.sources.module") from error
        finally:
            sys.path.remove(os.getcwd())
    try:
        return seqio.get_mixture_or_task(name)
    except ValueError:
        known = [*seqio.TaskRegistry.names(), *seqio.MixtureRegistry.names()]
        raise UserError(f"no Task or Mixture '{name}' in {module}", where="data.sources.task",
                        mend=did_you_mean(name, known)) from None
