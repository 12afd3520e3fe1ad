from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from splitjax.train import pick
from splitjax.train.lanes import Lanes, lanes_at, take, whole

from .helpers import same_bits
from .test_stack import make_stack

SHAPES = st.sampled_from([(1, 1), (4, 1), (8, 1), (8, 2), (8, 4), (6, 3)])


@st.composite
def endings(draw):
    experts, groups = draw(SHAPES)
    ends = draw(st.dictionaries(st.integers(0, experts - 1), st.integers(1, 5), max_size=experts))
    return experts, groups, ends


@given(endings())
def test_no_expert_is_lost_and_none_leaves_its_group(case):
    experts, groups, ends = case
    full, lanes = Lanes.full(experts, groups), lanes_at(experts, groups, ends)
    assert set(range(experts)) - set(ends) <= set(lanes.experts)
    assert sorted(lanes.experts + lanes.left_out(full).experts) == list(range(experts))
    for mine, home in zip(lanes.groups, full.groups, strict=True):
        assert set(mine) <= set(home)
    assert len({len(group) for group in lanes.groups}) == 1


@given(endings())
def test_more_than_a_quarter_idle_is_repacked_as_far_as_groups_allow(case):
    experts, groups, ends = case
    lanes = lanes_at(experts, groups, ends)
    idle = sum(expert in ends for expert in lanes.experts)
    busiest = max(sum(expert not in ends for expert in group) for group in lanes.groups)
    assert idle <= 0.25 * len(lanes.experts) or len(lanes.groups[0]) == max(1, busiest)


@given(endings())
def test_the_lanes_do_not_depend_on_when_the_run_was_resumed(case):
    experts, groups, ends = case
    lanes = Lanes.full(experts, groups)
    for moment in range(1, 6):
        lanes = lanes.without(frozenset(expert for expert, end in ends.items() if end <= moment))
    assert lanes == lanes_at(experts, groups, ends)


def test_a_quarter_idle_is_kept():
    assert lanes_at(4, 1, {1: 5}) == Lanes.full(4)
    assert lanes_at(4, 1, {1: 5, 2: 6}) == Lanes(((0, 3),))
    assert lanes_at(8, 1, {0: 1, 1: 1, 2: 1}).experts == [3, 4, 5, 6, 7]


def test_parts_make_the_whole_again():
    for groups in (1, 2):
        stack, full = make_stack(6), Lanes.full(6, groups)
        lanes = lanes_at(6, groups, {0: 1, 4: 1, 3: 2})
        rest = lanes.left_out(full)
        kept, parked = take(stack, full, lanes), take(stack, full, rest)
        assert same_bits(kept, pick(stack, lanes.experts))
        assert same_bits(whole([(lanes, kept), (rest, parked)]), stack)
        assert np.asarray(whole([(lanes, kept), (rest, parked)]).steps_K).tolist() == list(range(6))
