"""Settings that every test shares."""

from hypothesis import HealthCheck, settings

# The same examples in every run: a failure is a fact about the code, not about the day.
settings.register_profile(
    "skvae",
    deadline=None,
    derandomize=True,
    max_examples=25,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("skvae")
