"""How many examples the property tests draw that write files or run commands."""

from __future__ import annotations

import os

from hypothesis import HealthCheck, settings


def drawing(usual: int) -> settings:
    """So many examples, or as many as LABELFILL_EXAMPLES says: 200 are worth a minute now and then."""
    return settings(
        deadline=None,
        max_examples=int(os.environ.get("LABELFILL_EXAMPLES", usual)),
        suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    )
