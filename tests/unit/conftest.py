"""Settings of all unit tests: property-based tests have no deadline, because results must not depend on the
machine's speed."""

from __future__ import annotations

from hypothesis import HealthCheck, settings

settings.register_profile("any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any machine")
