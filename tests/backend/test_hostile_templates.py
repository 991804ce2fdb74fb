"""Templates of a model file that would not end: the child does, its parent is told why in one line, and goes on."""

from __future__ import annotations

import resource
import time
from pathlib import Path

import pytest

from llamacli.backend.child.engine import open_engine
from llamacli.engine.params import ContextParams, ModelParams
from llamacli.errors import TemplateError

TIME, MEMORY = "more than 2 s of processor time", "more than 200 MiB of memory"

STOPPED = {
    "loop": ("{% for i in range(100000) %}{% for j in range(100000) %}{% endfor %}{% endfor %}", TIME),
    "text repeated": ("{{ 'a' * 1000000000 }}", MEMORY),
    "range": ("{{ range(1000000000) | length }}", MEMORY),
    "recursion": ("{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}", MEMORY),
}


@pytest.mark.parametrize("name", STOPPED)
def test_a_template_without_end(tiny_model: Path, name: str) -> None:
    source, limit = STOPPED[name]
    with open_engine(tiny_model, ModelParams(), ContextParams(n_ctx=256, threads=1)) as engine:
        begin = resource.getrusage(resource.RUSAGE_SELF)
        started = time.monotonic()
        with pytest.raises(TemplateError) as caught:
            engine.knows_tools(source)
        assert time.monotonic() - started < 30  # two seconds, on a machine that has them
        assert caught.value.message == f"the chat template takes {limit}"
        end = resource.getrusage(resource.RUSAGE_SELF)
        assert end.ru_utime - begin.ru_utime < 1
        assert end.ru_maxrss - begin.ru_maxrss < 50 << 10
