"""Settings that every test shares."""

import os

import pytest
from hypothesis import HealthCheck, settings

from tests.combinations import mark_other_combinations_slow

# The same examples in every run: a failure is a fact about the code, not about the day.
for name, max_examples in (("default", 8), ("ci", 25)):
    settings.register_profile(
        f"skvae-{name}",
        deadline=None,
        derandomize=True,
        max_examples=max_examples,
        suppress_health_check=[HealthCheck.too_slow],
    )
settings.load_profile("skvae-ci" if os.environ.get("CI") else "skvae-default")


@pytest.hookimpl(tryfirst=True)  # before pytest leaves out the slow ones
def pytest_collection_modifyitems(items):
    """Leave to CI the pages of the guide, and combinations of parameters: `tests.combinations`."""
    for item in items:
        if item.path.suffix == ".rst":
            item.add_marker(pytest.mark.slow)
    mark_other_combinations_slow(items)
