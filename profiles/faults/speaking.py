"""What a session in a process of its own says, a JSON line each."""

from __future__ import annotations

import json
import os
from typing import Any


def say(**facts: Any) -> None:
    """Write one line at once: whatever kills this process does not cut it."""
    os.write(1, (json.dumps(facts) + "\n").encode())
