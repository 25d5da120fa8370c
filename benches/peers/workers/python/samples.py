"""Quantiles of durations. All samples are kept, so they are exact."""

import math
from collections.abc import Iterable


def quantiles(
    samples: Iterable[int], names: dict[str, float], at_least_ns: int = 0
) -> dict[str, float | None]:
    """Quantiles by nearest rank in microseconds, from nanoseconds; None where there are no samples.

    The largest value, `max`, is `at_least_ns` or more.
    """
    ordered = sorted(samples)

    def rank(q: float) -> float | None:
        return micros(ordered[max(0, math.ceil(q * len(ordered)) - 1)]) if ordered else None

    found = {name: rank(q) for name, q in names.items()}
    largest = max(at_least_ns, ordered[-1] if ordered else 0)
    found["max"] = micros(largest) if largest else None
    return found


def micros(ns: float) -> float:
    return round(ns / 1000, 2)
