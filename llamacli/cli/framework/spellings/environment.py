"""The variables of the environment that begin with LLAMACLI_: which there are, and which are mistakes."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping

from llamacli.cli.framework.parameters import ENVIRONMENT_PREFIX
from llamacli.cli.framework.spellings.option_names import OPTION_NAMES

OTHER_VARIABLES = (
    "LLAMACLI_CONFIG", "LLAMACLI_DATA_DIR", "LLAMACLI_CACHE_DIR", "LLAMACLI_RUNTIME_DIR", "LLAMACLI_TEMPLATES_DIR",
    "LLAMACLI_PAGER",
)  # fmt: skip
"""The variables of llamacli that are not options."""

_BUILDING = ("LLAMACLI_PORTABLE", "LLAMACLI_LLAMA_CPP_DIR", "LLAMACLI_TEST_", "LLAMACLI_VENV", "LLAMACLI_KERNELS_")
"""Beginnings of names that mean something when llamacli is built or tested."""


def unknown_variables(environ: Mapping[str, str]) -> Iterator[tuple[str, str | None]]:
    """The variables that set nothing, each with the one that was probably meant; no command is imported for it."""
    for name in sorted(name for name in environ if name.startswith(ENVIRONMENT_PREFIX)):
        option = name.removeprefix(ENVIRONMENT_PREFIX).lower().replace("_", "-")
        if option in OPTION_NAMES or name in OTHER_VARIABLES or name.startswith(_BUILDING):
            continue
        known = [ENVIRONMENT_PREFIX + one.replace("-", "_").upper() for one in OPTION_NAMES]
        near = difflib.get_close_matches(name, [*known, *OTHER_VARIABLES], n=1, cutoff=0.8)
        yield name, near[0] if near else None
