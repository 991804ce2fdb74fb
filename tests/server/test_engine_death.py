"""A server whose engine's process dies: those in flight get 503, and the next request is answered."""

from __future__ import annotations

import os
import signal
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from serving import serving, spec_of, wait_for

from llamacli.backend.child.engine import ChildEngine

PATH = "/v1/chat/completions"


def test_a_death_is_503_for_those_in_flight_and_the_server_comes_back(tiny_model: Path) -> None:
    body = {"messages": [{"role": "user", "content": "Hi"}], "max_tokens": 4}
    with serving(spec_of(tiny_model)) as live, ThreadPoolExecutor() as threads:
        assert live.post(PATH, body).status == 200
        (model,) = live.state.pool.loaded()
        assert isinstance(model.backend, ChildEngine)
        os.kill(model.backend.pid, signal.SIGSTOP)  # it is alive, and answers nothing
        in_flight = [threads.submit(live.post, PATH, body) for _ in range(2)]
        wait_for(lambda: model.users == 2)
        os.kill(model.backend.pid, signal.SIGKILL)
        replies = [request.result() for request in in_flight]
        assert [reply.status for reply in replies] == [503, 503]
        assert all("the engine was killed" in reply.json()["error"]["message"] for reply in replies)
        assert live.post(PATH, body).status == 200
        assert live.get("/health").status == 200
