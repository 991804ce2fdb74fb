"""A deadline: without a wait it is not set, a wait ends with it, and a cancellation goes through."""

from __future__ import annotations

import asyncio

import pytest

from llamacli.server.http.deadline import until


async def ready() -> str:
    return "ready"


def test_what_need_not_wait_is_returned_after_any_deadline() -> None:
    async def main() -> str:
        return await until(0.0, ready())

    assert asyncio.run(main()) == "ready"


def test_what_waits_goes_on_or_is_ended() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        event = asyncio.Event()

        async def waits() -> str:
            await asyncio.sleep(0)
            await event.wait()
            await asyncio.sleep(0)
            return "done"

        loop.call_later(0.01, event.set)
        assert await until(loop.time() + 60, waits()) == "done"
        event.clear()
        with pytest.raises(TimeoutError):
            await until(loop.time() + 0.01, waits())
        assert not event._waiters  # the work has seen its end

    asyncio.run(main())


def test_errors_and_cancellations_are_those_of_the_work() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()

        async def fails() -> None:
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                raise ValueError("cancelled") from None

        task = asyncio.ensure_future(until(loop.time() + 60, fails()))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(ValueError, match="cancelled"):
            await task

    asyncio.run(main())
