"""The databroker face. The one module that touches databroker."""

from __future__ import annotations

from typing import Any


def broker_of(container: Any) -> Any:
    """Return a container of runs as a ``databroker.v1.Broker``."""
    from databroker.v1 import Broker

    return Broker(container)
