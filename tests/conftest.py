"""What every test shares: quiet libraries, repeatable property tests, the shared corpora."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

import splitjax  # noqa: F401 (before JAX, which it keeps off the TPU compiler where no TPU is)
from tools.faults.world import write_corpus

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
# Tests compile hundreds of tiny programs and run each for moments: XLA's own optimisation is what takes their time.
_PLAIN = "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true"
_QUICK = f"{_PLAIN} --xla_cpu_use_fusion_emitters=false"
"""A fifth less time again, but a scan's bits are then others than an expert's alone: tests of bits are `fused`."""
os.environ.setdefault("XLA_FLAGS", _QUICK)
# One process a core: the threads of BLAS and torch would spin for each other. Read by both when they are imported.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
os.environ.setdefault("OMP_NUM_THREADS", "1")
# Compiled programs are shared by the processes of one session, and never with the user's own cache.
_programs = tempfile.TemporaryDirectory(prefix="splitjax-programs-")
os.environ.setdefault("SPLITJAX_CACHE", _programs.name)

# No deadline: the first call of a jitted function compiles. Derandomised: the suite gives the same answer twice;
# `--hypothesis-profile=search` looks for new counterexamples.
settings.register_profile("repeatable", deadline=None, derandomize=True, print_blob=True)
settings.register_profile("search", deadline=None, max_examples=1000, print_blob=True)
settings.load_profile("repeatable")


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Tests marked `fused` run in a process of their own: XLA reads its flags once."""
    if os.environ["XLA_FLAGS"] != _QUICK or pyfuncitem.get_closest_marker("fused") is None:
        return None
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-m", "", pyfuncitem.nodeid]
    done = subprocess.run(command, cwd=pyfuncitem.config.rootpath, env=os.environ | {"XLA_FLAGS": _PLAIN},
                          capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return True


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of shared corpora and tables, named by SPLITJAX_SHARED; without it the test is skipped."""
    folder = os.environ.get("SPLITJAX_SHARED")
    if not folder:
        pytest.skip("SPLITJAX_SHARED names no folder of shared corpora and tables")
    return Path(folder)


@pytest.fixture(scope="session")
def corpus_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three made-up languages; one has a name that a page must escape and a path must not swallow."""
    return write_corpus(tmp_path_factory.mktemp("corpus") / "docs.jsonl", documents=360)


@pytest.fixture(autouse=True, scope="module")
def _compiled_programs_end_with_their_module() -> Iterator[None]:
    """No module shares shapes with another: kept, the programs of all tests together fill gigabytes."""
    yield
    if "jax" in sys.modules:
        sys.modules["jax"].clear_caches()
