"""EleutherAI's lm-eval in this process: a model of ours as its `LM`, for any of its tasks that can be read offline."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

from splitjax.config import UserError, did_you_mean

from . import task_data, task_files, templates
from .generate import Generator, Sampling, until
from .served import Served
from .tasks import shared_prompt

_MAX_TOKENS = 256
"""As in lm-eval's own models."""


def language_model(served: Served) -> Any:
    """An `lm_eval.api.model.LM`. Contexts begin with the end id, as documents do and as an exported tokenizer has it.

    Raises:
        UserError: lm-eval is not installed.
    """
    return _class()(served)


def evaluate(
    served: Served, names: Sequence[str], limit: int | None = None, samples: bool = False, shots: int | None = None
) -> dict[str, Any]:
    """Results of lm-eval's tasks: {task: {metric: value, num_fewshot: examples}}, or all that lm-eval returns.

    Args:
        names: of tasks or groups, or paths of a task's YAML.
        limit: items a task; None: all.
        samples: return lm-eval's own results, each item's answers included.
        shots: examples before each item; None: as many as the task itself says (`num_fewshot`), else none.

    Raises:
        UserError: no such task, or its data are neither local nor cached (this machine is not asked to go online).
    """
    lm = language_model(served)
    import lm_eval
    from lm_eval.tasks import TaskManager

    files = {name: _task_file(name, shots) for name in names if name.endswith((".yaml", ".yml"))}
    manager = TaskManager(include_defaults=len(files) < len(names))  # to list lm-eval's own takes it half a minute
    wanted = [files[name] if name in files else _known(name, manager.all_tasks) for name in names]
    # datasets and the hub raise the first two for data that are not here, lm-eval any for a file that does not fit.
    # AssertionError: fewer items than examples asked for.
    expected = (AssertionError, OSError, ValueError, *((ArithmeticError, AttributeError, LookupError, MemoryError,
                                                        RecursionError, SyntaxError, TypeError) if files else ()))
    try:
        with templates.sandboxed(files):
            found = lm_eval.simple_evaluate(
                model=lm, tasks=wanted, num_fewshot=shots, limit=limit, task_manager=manager, bootstrap_iters=100,
                log_samples=samples, verbosity="ERROR",
            )
    except expected as error:
        if lacks := _lacking_split(error, files):
            raise lacks from None
        raise UserError(
            f"lm-eval could not run it ({' '.join(str(error).split())[:300] or type(error).__name__})",
            where=",".join(names), mend="Its data must be local or in the cache.",
        ) from error
    if samples:
        return found
    counts = found.get("n-shot", {})
    return {task: _plain(metrics) | {"num_fewshot": counts.get(task, 0)} for task, metrics in found["results"].items()}


def _class() -> Any:
    # Read once, at import: nothing is fetched, unless the user has said otherwise.
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    try:
        from lm_eval.api.model import LM
    except ImportError:
        raise UserError("lm-eval is not installed", mend="pip install 'splitjax[eval]'") from None

    class SplitjaxLM(LM):
        """K experts behind a router, or a model alone; several processes are not supported."""

        def __init__(self, served: Served) -> None:
            super().__init__()
            self.served = served

        def loglikelihood(self, requests: Sequence[Any], disable_tqdm: bool = True) -> list[tuple[float, bool]]:
            pairs = [self.served.encode_pair(*request.args) for request in requests]
            experts = self.served.choose(_prompts(requests))
            return self.served.likelihoods(pairs, experts)

        def loglikelihood_rolling(self, requests: Sequence[Any], disable_tqdm: bool = True) -> list[float]:
            return [self.served.rolling(request.args[0]) for request in requests]

        def generate_until(self, requests: Sequence[Any], disable_tqdm: bool = True) -> list[str]:
            experts = self.served.choose(_prompts(requests))
            told: dict[int, str] = {}
            for expert in sorted(set(experts)):  # one after another: one copy of one expert at a time
                writer = self.served.writer(expert)
                for index in (index for index, other in enumerate(experts) if other == expert):
                    told[index] = _written(self.served, writer, *requests[index].args)
            return [told[index] for index in range(len(requests))]

    return SplitjaxLM


def _written(served: Served, writer: Generator, context: str, told: Mapping[str, Any]) -> str:
    """Text after a context, up to the first of the task's stop strings, which is left out.

    Args:
        told: lm-eval's generation settings: until, max_gen_toks (256), do_sample, temperature, top_k, top_p.
    """
    stops = [told["until"]] if isinstance(told.get("until"), str) else list(told.get("until") or ())
    heat = float(told.get("temperature", 1.0)) if told.get("do_sample", told.get("temperature", 0)) else 0.0
    sampling = Sampling(heat, int(told.get("top_k", 0)), float(told.get("top_p", 1.0)))
    pieces = served.write(context, writer, int(told.get("max_gen_toks", _MAX_TOKENS)), sampling)
    return "".join(until(pieces, stops))


def _prompts(requests: Sequence[Any]) -> list[str]:
    """What the router reads for each request: what the contexts of its item have in common.

    The contexts of one item are the same, but where they are the options (WinoGrande); an empty one is there only to
    tell how likely an answer is without the question.
    """
    contexts: dict[tuple[Any, Any], list[str]] = {}
    for request in requests:
        if request.args[0]:
            contexts.setdefault((request.task_name, request.doc_id), []).append(request.args[0])
    shared = {item: shared_prompt(texts) for item, texts in contexts.items()}
    return [shared.get((request.task_name, request.doc_id), "") for request in requests]


def _known(name: str, known: Sequence[str]) -> str:
    if name not in known:
        raise UserError(f"lm-eval has no task '{name}'", where="--tasks", mend=did_you_mean(name, known))
    return name


def _task_file(name: str, shots: int | None) -> dict[str, Any]:
    """The settings in a task's YAML file, in which nothing may name code; `shots` go before its `num_fewshot`."""
    told = task_files.read(name)
    task_data.check(told)
    if shots is not None:
        told["num_fewshot"] = shots
    if told.get("num_fewshot"):
        _give_examples(name, told)
    from lm_eval.api import metrics, registry

    assert metrics  # they are known once it is imported
    for metric in (each["metric"] for each in told.get("metric_list") or ()):
        if metric not in registry.METRIC_REGISTRY:  # lm-eval would look for a script of that name
            raise UserError(f"this lm-eval has no metric '{metric}'", where=name)
    return told


def _give_examples(name: str, told: dict[str, Any]) -> None:
    """Say where the examples are from: where that is left to lm-eval, the item that is asked may be one of them.

    Raises:
        UserError: they could only be from the split that is asked, which lm-eval keeps apart in a test split alone.
    """
    own = (told.get("fewshot_config") or {}).get("split") or told.get("fewshot_split") or told.get("training_split")
    asked = "test_split" if told.get("test_split") else "validation_split"
    split = own or told.get("validation_split") or told["test_split"]
    if asked == "validation_split" and split == told[asked]:
        raise UserError(f"the examples of num_fewshot would be from '{split}', which is what is asked", where=name,
                        mend="Give a fewshot_split or training_split.")
    told["fewshot_split"] = split


def _lacking_split(error: BaseException, files: Mapping[str, Mapping[str, Any]]) -> UserError | None:
    """What is said of a split that a task's data do not have; None where that is not what is wrong."""
    if not isinstance(error, KeyError):
        return None
    for name, told in files.items():
        for key in ("test_split", "validation_split", "training_split", "fewshot_split"):
            if told.get(key) is not None and f"'{told[key]}'" in f"{error} '{error.args[0]}'":
                return UserError(f"its data have no split '{told[key]}'", where=f"{name}: {key}",
                                 mend="Splits are the keys of dataset_kwargs.data_files; one file alone is 'train'.")
    return None


def _plain(metrics: Mapping[str, Any]) -> dict[str, Any]:
    """Metrics without lm-eval's filter names, numbers only."""
    found = {}
    for key, value in metrics.items():
        if isinstance(value, int | float) and not isinstance(value, bool):
            found[key.partition(",")[0]] = float(value)
    return found
