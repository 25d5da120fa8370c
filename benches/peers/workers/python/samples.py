"""Quantiles of durations by nearest rank, in microseconds from nanoseconds."""

import math
from collections.abc import Iterable

QUANTILES = {"p50": 0.5, "p90": 0.9, "p99": 0.99, "p999": 0.999, "max": 1.0}


def quantiles(samples_ns: Iterable[int]) -> dict[str, float]:
    """All samples are kept, so they are exact. Without samples there are none."""
    ordered = sorted(samples_ns)
    if not ordered:
        return {}
    return {
        name: micros(ordered[max(0, math.ceil(q * len(ordered)) - 1)])
        for name, q in QUANTILES.items()
    }


def quantiles_of_groups(groups_ns: Iterable[list[int]]) -> dict[str, float]:
    """Each group counts the same, however many samples it has."""
    ordered = sorted((ns, 1 / len(group)) for group in groups_ns for ns in group)
    if not ordered:
        return {}
    total = sum(weight for _, weight in ordered)
    left = list(QUANTILES.items())
    found = {}
    below = 0.0
    for ns, weight in ordered:
        below += weight
        while left and left[0][1] < 1 and below >= left[0][1] * total:
            found[left.pop(0)[0]] = micros(ns)
    # The largest, and what rounding has left.
    return found | {name: micros(ordered[-1][0]) for name, _ in left}


def micros(ns: float) -> float:
    return round(ns / 1000, 2)
