"""Completion for bash, version 3.2 (that of macOS) or newer; nothing else is needed.

What is offered for a value is one line of words: those to offer as they are, `@files`, `@gguf` (models and folders), and
`@models` and others of `pages.Dynamic`, for which the program is asked. Names that come from outside are never
given to `compgen -W`, which would carry out a `$(command)` in them.
"""

from __future__ import annotations

import re
from collections import defaultdict

from llamacli.cli.docs.pages import Page, Value

_HEAD = """\
# bash completion for llamacli
# Written by llamacli.cli.documentation from the options as they are: do not edit.
"""

_FRAME = r"""
# Offers of the words $1 those that begin with $current. The variables are those of _llamacli.
_llamacli_offer() {
    local IFS=$' \t\n' token name files=() names=()
    for token in $1; do
        case $token in
        @files) while IFS= read -r name; do files+=("$name"); done < <(compgen -f -- "$current") ;;
        @gguf) while IFS= read -r name; do files+=("$name"); done < <(
            compgen -f -X '!*.[gG][gG][uU][fF]' -- "$current"
            compgen -d -- "$current"
        ) ;;
        @*) while IFS=$'\t' read -r name _; do [[ $name != "$current"* ]] || names+=("$name"); done < <(
            "$program" --complete "${token#@}" "$current" "${words[number - 2]}" 2>/dev/null
        ) ;;
        *) [[ $token != "$current"* ]] || names+=("$token") ;;
        esac
    done
    if ((${#names[@]} == 0)); then
        compopt -o filenames 2>/dev/null # which puts a slash after a folder, and quotes
        quote=filenames
    fi
    for name in ${names[@]+"${names[@]}"} ${files[@]+"${files[@]}"}; do
        [[ $quote ]] || printf -v name %q "$name"
        name=$prefix$name
        COMPREPLY+=("${name#"$head"}")
    done
    return 0
}

_llamacli() {
    # bash takes hf:user/repo and --name=value apart: what stands together is put together again.
    local line=${COMP_LINE:0:COMP_POINT} words=() number=0 index piece gap
    for ((index = 0; index <= COMP_CWORD; index++)); do
        gap=${line%%[![:space:]]*}
        line=${line#"$gap"}
        piece=${COMP_WORDS[index]}
        ((index < COMP_CWORD)) || piece=$line
        line=${line#"$piece"}
        if ((index)) && [[ -z $gap ]]; then
            words[number - 1]+=$piece
        else
            words[number++]=$piece
        fi
    done

    # Which command it is, whether a value is expected, how many arguments there are.
    local command='' commands='' options='' arguments=() repeats='' value='' expected='' ended='' count=0
    _llamacli_command ''
    for ((index = 1; index < number - 1; index++)); do
        piece=${words[index]}
        if [[ $expected ]]; then
            expected=''
        elif [[ -z $ended && $piece == -- ]]; then
            ended=yes
        elif [[ -z $ended && $piece == -?* ]]; then
            [[ $piece != --*=* ]] && _llamacli_option "$command" "$piece" && expected=yes
        elif ((!count)) && [[ " $commands " == *" $piece "* ]]; then
            command=${command:+$command }$piece
            _llamacli_command "$command"
        else
            ((count++))
        fi
    done

    local program=$1 current=${words[number - 1]} prefix='' quote='' breaks='' head=''
    [[ $program != '~/'* ]] || program=$HOME/${program#'~/'}
    COMPREPLY=()
    if [[ $expected ]]; then
        :
    elif [[ -z $ended && $current == --*=* ]]; then
        prefix=${current%%=*}=
        _llamacli_option "$command" "${prefix%=}" || return 0
        current=${current#"$prefix"}
    elif [[ -z $ended && $current == -* ]]; then
        value=$options
    elif [[ $commands ]] && ((!count)); then
        value="$commands ${arguments[0]}"
    elif ((count < ${#arguments[@]})); then
        value=${arguments[count]}
    elif [[ $repeats ]]; then
        value=${arguments[${#arguments[@]} - 1]}
    else
        return 0
    fi

    # What bash replaces begins after the last : or =, if these divide words and are not within quotes.
    case $current in
    [\"\']*)
        quote=${current:0:1}
        current=${current:1}
        [[ $COMP_WORDBREAKS != *=* ]] || head=$prefix
        ;;
    *)
        [[ $COMP_WORDBREAKS != *:* ]] || breaks=:
        [[ $COMP_WORDBREAKS != *=* ]] || breaks+==
        head=$prefix$current
        [[ $breaks ]] && head=${head%"${head##*[$breaks]}"} || head=''
        current=${current//\\/}
        ;;
    esac
    _llamacli_offer "$value"
}

complete -F _llamacli llamacli
"""

_WORD = re.compile(r"[\w.+-]+")


def format_completion(program: Page) -> str:
    """The whole script."""
    return "\n".join([_HEAD, *_commands(program), *_options(program)]) + _FRAME


def offered(value: Value) -> str:
    """What is offered for a value."""
    wrong = [word for word in value.words if not _WORD.fullmatch(word)]
    if wrong:
        raise ValueError(f"no words for a completion: {wrong}")
    files = {None: (), "*": ("@files",), ".gguf": ("@gguf",)}[value.files]
    dynamic = (f"@{value.dynamic}",) if value.dynamic else ()
    return " ".join((*value.words, *dynamic, *files))


def _commands(program: Page) -> list[str]:
    lines = [
        "# Sets what the command $1 has: commands, options, what is offered for each argument, whether the last repeats.",
        "_llamacli_command() {",
        "    commands='' options='' arguments=() repeats=''",
        "    case $1 in",
    ]
    for page in program.below():
        lines.append(f"    '{' '.join(page.path)}')")
        if page.children:
            lines.append(f"        commands='{' '.join(child.path[-1] for child in page.children)}'")
        lines.append(f"        options='{' '.join(name for switch in page.switches for name in switch.names)}'")
        if page.positionals:
            lines.append(f"        arguments=({' '.join(repr(offered(one.value)) for one in page.positionals)})")
            lines += ["        repeats=yes"] * page.positionals[-1].repeats
        lines.append("        ;;")
    return [*lines, "    esac", "}", ""]


def _options(program: Page) -> list[str]:
    """One branch for each value, with the options that take it; those that not all commands have alike name their command."""
    found: dict[str, dict[str, str | None]] = defaultdict(dict)
    for page in program.below():
        for switch in page.switches:
            for name in switch.names:
                found[name][" ".join(page.path)] = None if switch.value is None else offered(switch.value)
    branches: dict[str, list[str]] = defaultdict(list)
    for name, values in found.items():
        kinds = set(values.values())
        if len(kinds) == 1:
            value = kinds.pop()
            if value is not None:
                branches[value].append(f"*:{name}")
            continue
        for path, value in values.items():
            if value is not None:
                branches[value].append(f"'{path}':{name}")
    lines = [
        "# Sets what is offered for the value of the option $2 of the command $1. Fails if it takes none.",
        "_llamacli_option() {",
        "    value=''",
        '    case "$1:$2" in',
    ]
    for value, patterns in branches.items():
        lines.append("    " + " | \\\n        ".join(patterns) + f") value='{value}' ;;")
    return [*lines, "    *) return 1 ;;", "    esac", "}"]
