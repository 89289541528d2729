from __future__ import annotations

import pytest


@pytest.fixture(scope="session")
def trial_config(trial_config):
    """The batch of eight that what is counted here is counted by."""
    return lambda *overrides: trial_config("training.batch_size=8", *overrides)
