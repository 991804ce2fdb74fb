"""The service of `llamacli bench`, dying of SIGABRT in a repetition with a micro-batch of 64 tokens."""

from __future__ import annotations

import os

from llamacli.backend.child.wire.method import Method
from llamacli.backend.child.work.main import Handler
from llamacli.bench.child import service as real
from llamacli.bench.measure.params import Repetition
from llamacli.bench.measure.token_test import TokenTest

FATAL = 64


def service() -> dict[Method, Handler]:
    handlers, run = real.service(), TokenTest.run

    def run_or_die(test: TokenTest) -> Repetition:
        if test.test.n_ubatch == FATAL:
            os.abort()
        return run(test)

    TokenTest.run = run_or_die  # type: ignore[method-assign]
    return handlers
