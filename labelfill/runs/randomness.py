"""Where every generator of random numbers gets its seed: keyed by place, so that resuming restores none."""

from __future__ import annotations

import hashlib
import json


def random_key(seed: int, *place: int | str) -> int:
    """A seed for one place of the program, such as (stage, keypoint, epoch); the same on every machine."""
    text = json.dumps([seed, *place])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:7], "big")
