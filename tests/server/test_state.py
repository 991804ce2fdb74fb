"""What a server knows: requests that have ended are counted and logged a few at once."""

from __future__ import annotations

import asyncio

from serving import state_of

from llamacli.server.http.exchange import Record


def test_hundreds_of_ended_requests_are_noted_in_turns_with_others() -> None:
    async def run() -> tuple[list[Record], list[int]]:
        noted: list[Record] = []
        state, turns = state_of(), []
        state.log = noted.append
        for number in range(100):
            state.note(Record("GET", f"/{number}"), "/")
        assert not noted
        while len(noted) < 100:
            await asyncio.sleep(0)
            turns.append(len(noted))
        state.note(Record("GET", "/last"), "/")
        state.write_notes()
        return noted, turns

    noted, turns = asyncio.run(run())
    assert [record.path for record in noted] == [*(f"/{number}" for number in range(100)), "/last"]
    assert sorted(set(turns) - {0}) == [32, 64, 96, 100]
