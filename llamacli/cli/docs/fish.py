"""Completion for fish."""

from __future__ import annotations

from collections.abc import Iterator

from llamacli.cli.docs.pages import Page, Switch, Value

_HEAD = """\
# fish completion for llamacli
# Written by llamacli.cli.documentation from the options as they are: do not edit.

# Whether the command line has come to the command $argv; options come after the commands.
function __llamacli_at
    set -l words (commandline -opc)
    set -l last (math (count $argv) + 1)
    test (count $words) -ge $last; and test "$words[2..$last]" = "$argv"
end

# Whether it has come to the group $argv, and no command of it is named yet.
function __llamacli_in
    set -l words (commandline -opc)
    test (count $words) -eq (math (count $argv) + 1); and test "$words[2..]" = "$argv"
end

# The names of a kind that the program knows.
function __llamacli_names
    set -l words (commandline -opc)
    set -l program (string replace -r '^~/' $HOME/ -- $words[1])
    $program --complete $argv[1] (string replace -r -- '^--[^=]*=' '' (commandline -ct)) $words[-1] 2>/dev/null
end

# The models and the folders that begin as the current word does. fish's own __fish_complete_suffix offers other files, too.
function __llamacli_gguf
    set -l word (string replace -r -- '^--[^=]*=' '' (commandline -ct))
    complete -C "__llamacli_no_such_command $word" | string match -ir -- '^[^\\t]*(?:/|\\.gguf)(?=\\t|$)'
end

complete -c llamacli -f
"""


def format_completion(program: Page) -> str:
    """The whole script."""
    return _HEAD + "".join(f"{line}\n" for page in program.below() for line in _lines(page))


def _lines(page: Page) -> Iterator[str]:
    yield ""
    path = " ".join(page.path)
    inside = f"__llamacli_in {path}".strip()
    here = inside if page.is_group else f"__llamacli_at {path}"
    for child in page.children:
        if not page.is_group:
            here += f"; and not __llamacli_at {' '.join(child.path)}"
        yield f"complete -c llamacli -n '{inside}' -a {child.path[-1]} -d {_quoted(child.summary)}"
    for switch in page.switches:
        yield _switch(here, switch)
    for one in page.positionals:
        if value := _value(one.value):
            yield f"complete -c llamacli -n '{here}' {value}"


def _switch(condition: str, switch: Switch) -> str:
    parts = [f"complete -c llamacli -n '{condition}'"]
    for name in switch.names:
        # Not -s, for which fish would offer -hm, -hf and so on after -h.
        kind = "-l" if name.startswith("--") else "-o"
        parts.append(f"{kind} {name.lstrip('-')}")
    if switch.value is not None:
        parts.append(f"-r {_value(switch.value) or '-f'}")
    parts.append(f"-d {_quoted(switch.summary)}")
    return " ".join(parts)


def _value(value: Value) -> str:
    """The flags that offer what there is for a value; -k keeps the order."""
    sources = list(value.words)
    if value.dynamic:
        sources.append(f"(__llamacli_names {value.dynamic})")
    if value.files == ".gguf":
        sources.append("(__llamacli_gguf)")
    offered = f"-ka '{' '.join(sources)}'" if sources else ""
    files = "-F" if value.files == "*" else "-f"
    return f"{files} {offered}".strip() if offered or value.files else ""


def _quoted(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"
