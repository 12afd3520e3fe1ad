from __future__ import annotations

import pytest

from splitjax.train import Trainer

from .helpers import make_trainer


@pytest.fixture(scope="session")
def trainer() -> Trainer:
    """One trainer for the session: its compiled steps are shared."""
    return make_trainer(expert_loop="scan")
