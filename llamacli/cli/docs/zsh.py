"""Completion for zsh, through `_arguments`."""

from __future__ import annotations

from collections.abc import Iterator

from llamacli.cli.docs.pages import Page, Positional, Switch, Value

_HEAD = """\
#compdef llamacli
# Written by llamacli.cli.documentation from the options as they are: do not edit.
"""

_FRAME = r"""
# Offers the names of a kind ($1) that the program knows, with what it says about them; and files if $2 says which.
_llamacli_names() {
  local line program=${(Q)_llamacli_program} tab=$'\t' expl ret=1
  local -a lines names shown
  [[ $program != '~/'* ]] || program=$HOME/${program#'~/'}
  local -a call=(--complete "${(q)1}" "${(q)${(Q)PREFIX}}" "${(q)${(Q)words[CURRENT-1]}}")
  lines=("${(@f)$(_call_program names ${(q)program} $call 2>/dev/null)}")
  for line in $lines; do
    names+=("${line%%$tab*}")
    shown+=("${line/$tab/  -- }")
  done
  (( $#names )) && _wanted $1 expl "$1" compadd -l -d shown -a names && ret=0
  # Not _files, which offers other files where none matches.
  [[ -n $2 ]] && _path_files -g "$2" && ret=0
  [[ -n $2 ]] && _path_files -/ && ret=0
  return ret
}
"""


def format_completion(program: Page) -> str:
    """The whole script. Its last line runs it the first time, when zsh has only just loaded it."""
    functions = [line for page in program.below() for line in _function(page)]
    tail = '_llamacli "$@"'
    return "\n".join([_HEAD.rstrip("\n"), _FRAME, *functions, tail]) + "\n"


def _function(page: Page) -> Iterator[str]:
    yield f"{_name(page)}() {{"
    if not page.path:
        yield "  local _llamacli_program=$words[1]"
    specs = [spec for switch in page.switches for spec in _switch(switch)]
    if page.is_group:
        yield "  local curcontext=$curcontext state line ret=1"
        specs += [f"'1:command:{_name(page)}_commands'", "'*::argument:->command'"]
        yield from _call("_arguments -C -S", specs, "&& ret=0")
        yield "  [[ $state != command ]] && return ret"
        yield "  curcontext=${curcontext%:*:*}:llamacli-$line[1]:"
        yield "  case $line[1] in"
        yield from (f"  ({child.path[-1]}) {_name(child)} ;;" for child in page.children)
        yield "  esac"
    else:
        for child in page.children:
            yield f"  if (( CURRENT > 2 )) && [[ $words[2] == {child.path[-1]} ]]; then"
            yield f"    shift words; (( CURRENT-- )); {_name(child)}; return"
            yield "  fi"
        specs += [f"'1:command:{_name(page)}_commands'"] * bool(page.children)
        specs += [_positional(one, number) for number, one in enumerate(page.positionals, 1) if one.value != Value()]
        yield from _call("_arguments -S", specs)
    yield "}"
    yield ""
    if page.children:
        yield f"{_name(page)}_commands() {{"
        yield "  local -a commands=("
        yield from (f"    {_quoted(child.path[-1] + ':' + child.summary)}" for child in page.children)
        yield "  )"
        yield "  _describe -t commands command commands"
        yield "}"
        yield ""


def _call(command: str, specs: list[str], tail: str = "") -> Iterator[str]:
    yield f"  {command} \\"
    yield from (f"    {spec} \\" for spec in specs[:-1])
    yield f"    {specs[-1]}" + (f" {tail}" if tail else "")


def _switch(switch: Switch) -> Iterator[str]:
    """The specifications of an option: one for all its names, or for each if it has only one."""
    names = switch.names
    excluded = "*" if switch.repeats else f"({' '.join(names)})"
    if names[-1] in ("--help", "--version"):
        excluded = "(- *)"
    text = f"[{_escaped(switch.summary)}]"
    if switch.value is not None:
        text += f":{_escaped(switch.metavar)}:{_action(switch.value)}"
        names = tuple(f"{name}=" if name.startswith("--") else name for name in names)
    for name in names:
        yield _quoted(f"{excluded}{name}{text}")


def _positional(one: Positional, number: int) -> str:
    place = "*" if one.repeats else str(number)
    return _quoted(f"{place}:{_escaped(one.metavar)}:{_action(one.value)}")


def _action(value: Value) -> str:
    files = {None: "", "*": "_files", ".gguf": "_files"}[value.files]
    if value.dynamic:
        names = f"_llamacli_names {value.dynamic}"
        if value.files:
            names += f' "(#i)*{value.files}(-.)"'
        # The space keeps _arguments from adding arguments of its own.
        return f"{{{names}; compadd -- {' '.join(value.words)}}}" if value.words else f" {names}"
    if value.words and files:
        return f"{{compadd -- {' '.join(value.words)}; {files}}}"
    return f"({' '.join(value.words)})" if value.words else files


def _name(page: Page) -> str:
    return "_".join(("_llamacli", *page.path)).replace("-", "_")


def _escaped(text: str) -> str:
    """Text within a specification, where brackets and colons mean something."""
    return "".join(f"\\{char}" if char in "[]:\\" else char for char in text)


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "'\\''") + "'"
