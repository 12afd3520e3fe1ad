"""Flag groups: accepted by the compilers at hand, each with a reason."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from splitjax.config import UserError
from splitjax.parallel import has_compiler
from splitjax.planning.flag_groups import GROUPS, default_groups, environment, flags_of

_COMPILE = """
import json, sys
import jax, jax.numpy as jnp
from jax.sharding import NamedSharding, PartitionSpec
from splitjax.parallel import Topology
mesh = Topology.parse("v5e:2x2").mesh(dict(expert=1, data=1, fsdp=4, tensor=1))
x = jax.ShapeDtypeStruct((8, 8), jnp.float32, sharding=NamedSharding(mesh, PartitionSpec()))
jax.jit(lambda x: x @ x).lower(x).compile(compiler_options=json.loads(sys.argv[1]))
print("accepted")
"""


def of(platform: str) -> list[str]:
    return [name for name, group in GROUPS.items() if group.on == platform]


@pytest.mark.skipif(not has_compiler(), reason="libtpu is not installed (pip install splitjax[tpu])")
@pytest.mark.parametrize("wrong", [False, True])
def test_libtpu_takes_every_flag_and_no_other(wrong: bool) -> None:
    import json

    flags = flags_of("tpu", of("tpu")) | ({"xla_tpu_no_such_flag": "true"} if wrong else {})
    done = subprocess.run(
        [sys.executable, "-c", _COMPILE, json.dumps(flags)], env=os.environ | {"JAX_PLATFORMS": "cpu"},
        capture_output=True, text=True, timeout=120,
    )
    assert ("accepted" in done.stdout) != wrong, done.stderr


@pytest.mark.parametrize("wrong", [False, True])
def test_xla_takes_every_gpu_flag_and_no_other(wrong: bool) -> None:
    """The flags of XLA are parsed before any device is looked for."""
    text = environment("gpu", of("gpu"))["XLA_FLAGS"] + (" --xla_gpu_no_such_flag=true" if wrong else "")
    done = subprocess.run(
        [sys.executable, "-c", "import jax; jax.devices(); print('accepted')"],
        env=os.environ | {"JAX_PLATFORMS": "cpu", "XLA_FLAGS": text}, capture_output=True, text=True, timeout=120,
    )
    assert ("accepted" in done.stdout) != wrong, done.stderr


def test_every_group_has_a_reason_and_flags() -> None:
    assert all(len(group.reason) > 40 and group.flags for group in GROUPS.values())


def test_the_groups_of_a_run_follow_what_it_does() -> None:
    assert set(default_groups("tpu")) == set(of("tpu")) - {"host_offload", "data_parallel", "vmem"}
    assert set(default_groups("tpu", chip="v6e", remat="offload", data=2)) == set(of("tpu"))
    assert set(default_groups("gpu")) == set(of("gpu"))
    assert default_groups("cpu") == ()


def test_tpus_read_their_own_variable() -> None:
    assert environment("tpu", ["vmem"]) == {"LIBTPU_INIT_ARGS": "--xla_tpu_scoped_vmem_limit_kib=98304"}
    assert environment("cpu", []) == {}


def test_a_wrong_group_is_refused() -> None:
    with pytest.raises(UserError, match="no group"):
        flags_of("tpu", ["vmen"])
    with pytest.raises(UserError, match="are for tpu, not gpu"):
        flags_of("gpu", ["vmem"])
