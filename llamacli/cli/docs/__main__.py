"""`python -m llamacli.cli.documentation [--check]`: writes man pages and completions, or tells whether they are up to date."""

from __future__ import annotations

import sys
from pathlib import Path

from llamacli.cli.docs import bash, fish, zsh
from llamacli.cli.docs.manual import format_manual, with_manual
from llamacli.cli.docs.pages import read_program
from llamacli.cli.framework.settings import all_keys

ROOT = Path(__file__).resolve().parents[3]

_OPTION_NAMES = Path("llamacli", "cli", "framework", "option_names.py")


def documents() -> dict[Path, str]:
    """Every file, by its path from the root of the checkout."""
    program = read_program()
    found = {Path("man", f"{page.name}.1"): format_manual(page, program) for page in with_manual(program)}
    found[_OPTION_NAMES] = format_option_names()
    for shell, name in ((bash, "llamacli"), (zsh, "_llamacli"), (fish, "llamacli.fish")):
        found[Path("completions", name)] = shell.format_completion(program)
    return found


def format_option_names() -> str:
    """The module that tells a command which keys of the settings belong to other commands."""
    heading = '"""The names of all options in the settings. Written by llamacli.cli.docs from the options: do not edit."""'
    names = "".join(f'        "{name}",\n' for name in sorted(all_keys()))
    return f"{heading}\n\nOPTION_NAMES = frozenset(\n    {{\n{names}    }}\n)\n"


def outdated(root: Path = ROOT) -> list[Path]:
    """The files that are not as they would be written, and those that nothing writes any more."""
    wanted = documents()
    there = {
        path.relative_to(root) for folder in ("man", "completions") for path in (root / folder).glob("*") if path.is_file()
    }
    there |= {_OPTION_NAMES}
    changed = [path for path, text in wanted.items() if path not in there or (root / path).read_text(encoding="utf-8") != text]
    return sorted({*changed, *(there - wanted.keys())})


def write(root: Path = ROOT) -> list[Path]:
    """Brings the files up to date and returns those that changed."""
    wanted, changed = documents(), outdated(root)
    for path in changed:
        (root / path).parent.mkdir(exist_ok=True)
        if path in wanted:
            (root / path).write_text(wanted[path], encoding="utf-8")
        else:
            (root / path).unlink()
    return changed


def main(arguments: list[str]) -> int:
    """Writes or checks, and names the files that were not up to date."""
    check = arguments == ["--check"]
    changed = outdated() if check else write()
    for path in changed:
        print(f"{path} {'is not up to date: run python -m llamacli.cli.documentation' if check else 'written'}")
    return 1 if check and changed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
