"""The way from the command line to the engine is short: a reader can follow a prompt to the decode call."""

from __future__ import annotations

import traceback
from pathlib import Path

import pytest
from fakes import invoke
from in_process import open_in_process

import llamacli
from llamacli.engine.runtime.context import Context

PACKAGE = Path(llamacli.__file__).parent


def test_a_prompt_reaches_the_decode_call_in_seven_frames(tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[list[traceback.FrameSummary]] = []
    decode = Context.decode

    def watched(self: Context, *arguments: object) -> None:
        seen.append([frame for frame in traceback.extract_stack() if Path(frame.filename).is_relative_to(PACKAGE)])
        decode(self, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(Context, "decode", watched)
    done = invoke("run", "-m", str(tiny_model), "-t", "1", "-n", "1", "Hi", open_engine=open_in_process)
    assert done.status == 0, done.stderr
    names = [frame.name for frame in seen[0]]
    frames = [*names[names.index("run") :], "decode"]
    assert len(frames) <= 7, frames
    assert len({frame.filename for frame in seen[0]}) <= 20
