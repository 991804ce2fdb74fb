"""Hints about a wrong command line: mistyped options, and what was probably meant."""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence

import typer
from typer.core import TyperCommand, TyperGroup

from llamacli.cli.framework.parameters import Argument, Option
from llamacli.errors import UsageError

_TEXTS = ("PROMPT", "QUERY", "RE", "TEXT")
"""Arguments that may have several words."""

_NEGATIVE = re.compile(r"-(\d+\.?\d*|\.\d+)(e[+-]?\d+)?", re.IGNORECASE)


def option_names(owner: TyperCommand | TyperGroup) -> dict[str, Option]:
    """The options of a command by every spelling."""
    return {
        name: option for option in owner.params if isinstance(option, Option) for name in (*option.opts, *option.secondary_opts)
    }


def reject_single_dash(owner: TyperCommand, args: list[str]) -> None:
    """Refuse `-temp 0.5`, which would be parsed as `-t emp` and the argument 0.5. Raises UsageError."""
    names = option_names(owner)
    takes_value = False
    for word in args:
        if word == "--":
            return
        name = word.partition("=")[0]
        if word.startswith("-") and not takes_value and name not in names and f"-{name}" in names:
            raise UsageError(f"no such option: {name}", hint=f"did you mean -{name}?")
        option = names.get(word)
        takes_value = not takes_value and option is not None and not option.is_flag and not option.count


def with_numbers_apart(owner: TyperCommand, args: list[str]) -> list[str]:
    """The same words with all arguments after `--` if one of them is a negative number."""
    names = option_names(owner)
    options: list[str] = []
    arguments: list[str] = []
    takes_value = False
    for index, word in enumerate(args):
        if word == "--" and not takes_value:
            arguments += args[index + 1 :]
            break
        is_option = word.startswith("-") and word != "-" and not _NEGATIVE.fullmatch(word)
        (options if is_option or takes_value else arguments).append(word)
        option = names.get(word)
        takes_value = not takes_value and option is not None and not option.is_flag and not option.count
    return [*options, "--", *arguments] if any(map(_NEGATIVE.fullmatch, arguments)) else args


def explained(owner: TyperCommand | TyperGroup, error: typer.TyperException, args: list[str]) -> Exception:
    """The same error, with a hint if one is known."""
    if hasattr(error, "possibilities"):
        wrong = str(getattr(error, "option_name", ""))
        word = next((word for word in args if word.partition("=")[0] == wrong or word.startswith(wrong)), wrong)
        if " " in word.strip():
            return UsageError(f"no such option: {word}", hint="write -- before text that begins with a dash")
        word = word.partition("=")[0]
        near = difflib.get_close_matches(word, option_names(owner), n=1)
        other = "--help-all lists them" if isinstance(owner, TyperCommand) else "options come after the command"
        return UsageError(f"no such option: {word}", hint=f"did you mean {near[0]}?" if near else other)
    if "requires an argument" in error.format_message():
        name = str(getattr(error, "option_name", ""))
        flag = option_names(owner).get(name.swapcase())
        if flag is not None and flag.is_flag:
            return UsageError(f"{name} needs a value", hint=f"did you mean {', '.join(flag.opts)}?")
    if "unexpected extra argument" in error.format_message():
        extra = error.format_message().partition("(s) ")[2]
        return UsageError(f"unexpected argument: {extra.strip('()')}", hint=_model_hint(owner, args) or _arguments_hint(owner))
    return error


def unexpected(words: Sequence[str], prompt: str | None) -> UsageError:
    """Return the error for words after a prompt that has none."""
    hint = _model_line(prompt or "") or "put text of several words in quotes"
    return UsageError(f"unexpected argument: {' '.join(words)}", hint=hint)


def _model_hint(owner: TyperCommand | TyperGroup, args: list[str]) -> str | None:
    """How to select a model that is named before the prompt, as ollama has it."""
    asks = any(isinstance(one, Argument) and one.metavar == "PROMPT" for one in owner.params)
    return _model_line(next(iter(args), "")) if asks else None


def _model_line(word: str) -> str | None:
    from llamacli.cli.framework.settings.settings import is_model_name

    return f"-m {word} selects the model" if is_model_name(word) else None


def _arguments_hint(owner: TyperCommand | TyperGroup) -> str:
    """The alternatives to more arguments of a command."""
    arguments = [one for one in owner.params if isinstance(one, Argument)]
    if any(one.metavar in _TEXTS for one in arguments):
        return "put text of several words in quotes"
    names = " and ".join(f"one {one.metavar}" for one in arguments)
    return f"{owner.name} takes {names}" if names else f"{owner.name} takes options only"
