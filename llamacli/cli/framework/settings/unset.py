"""Options that a command line frees from the environment and the settings: --unset, and switches that mean the same."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from llamacli.cli.framework.parameters import Option
from llamacli.errors import UsageError


def unset_names(options: Sequence[Option], given: Mapping[str, Any]) -> Collection[str]:
    """Return the names of `options` whose built-in defaults count, by the unconverted values of a command line.

    --unset names them, and a switch that is turned off frees what it stands for (`clears`).

    Raises:
        UsageError: if a word of --unset is not one of them.
    """
    known = {name: one for one in options for name in one.opts if name.startswith("--")}
    found = {name for one in options if one.clears and given.get(one.name) is False for name in one.clears if name not in given}
    words = [word.strip() for names in given.get("unset") or () for word in names.split(",")]
    for word in words:
        flag = f"--{word.lower().replace('_', '-')}"
        if flag not in known:
            near = difflib.get_close_matches(flag, known, n=1)
            hint = f"did you mean {near[0].removeprefix('--')}?" if near else "it takes long names, as in the settings"
            raise UsageError(f"--unset: no setting of this command: {word}", hint=hint)
        found.add(known[flag].name)
    return found
