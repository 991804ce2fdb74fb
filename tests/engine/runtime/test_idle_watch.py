"""The watch over the processors: what it takes for the end of another program, and what not."""

from __future__ import annotations

import pytest

from llamacli.engine.runtime.threads.idle_watch import IdleWatch

CASES = {
    "nothing is idle": ([(1, 0.3, 0.0)] * 8, []),
    "a program ends": ([(1, 0.3, 0.1)] * 4 + [(1, 0.3, 1.0)] * 4, [4, 5]),
    "in the middle of an interval": ([(1, 0.3, 0.1)] * 4 + [(1, 0.3, 0.4), (1, 0.3, 1.0), (1, 0.3, 1.0)], [5, 6]),
    "a program starts": ([(1, 0.3, 1.0)] * 4 + [(1, 0.3, 0.0)] * 4, []),
    "we take fewer threads": ([(2, 0.3, 0.0)] * 4 + [(1, 0.3, 1.0)] * 4, []),
    "we pause": ([(1, 0.3, 0.1)] * 4 + [(1, 30.0, 2.0)] + [(1, 0.3, 0.1)] * 4, []),
    "steps are short": ([(1, 0.01, 0.1)] * 60 + [(1, 0.01, 1.0)] * 40, [75]),
}


@pytest.mark.parametrize("case", CASES)
def test_more_idle_processors_are_a_sign(case: str) -> None:
    """Steps of so many threads take seconds, in which so many processors are idle."""
    now = idle = 0.0
    watch = IdleWatch(lambda: idle)
    steps, expected = CASES[case]
    seen = []
    for number, (threads, seconds, processors) in enumerate(steps):
        now, idle = now + seconds, idle + seconds * processors
        if watch.sees_freed(threads, now):
            seen.append(number)
    assert bool(seen) == bool(expected)
    assert not seen or seen[0] in expected


def test_a_system_that_does_not_tell_frees_nothing() -> None:
    watch = IdleWatch(lambda: None)
    assert not any(watch.sees_freed(1, now) for now in range(5))
