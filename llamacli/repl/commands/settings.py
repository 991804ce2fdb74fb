"""The commands about how the model answers: system prompt, sampling, thinking."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from llamacli.errors import UsageError
from llamacli.repl.commands.registry import command
from llamacli.repl.commands.setting_values import (
    format_biases,
    format_value,
    is_generation,
    read_value,
    setting_name,
    setting_names,
)
from llamacli.repl.conversation.state import Chat

if TYPE_CHECKING:
    from llamacli.engine.runtime.logit_bias import Bias


@command("system", arguments="[TEXT | none]", summary="Show or change the system prompt")
def system(chat: Chat, argument: str) -> None:
    """It counts from the next message on, for the whole conversation."""
    if argument:
        chat.system = None if argument == "none" else argument
        chat.setup.screen.say("the system prompt is changed" if chat.system else "there is no system prompt any more")
    else:
        chat.setup.screen.show(chat.system or "there is no system prompt")


@command(
    "set",
    arguments="NAME VALUE",
    summary="Change a sampling option; VALUE default takes it back",
    completes="settings",
)
def set_(chat: Chat, argument: str) -> None:
    """Changes one parameter for the answers that follow."""
    word, _, text = argument.partition(" ")
    if not word:
        raise UsageError("/set needs a name and a value", hint="/params lists them")
    name, text = setting_name(word), text.strip()
    if not text:
        chat.setup.screen.show(f"{name} = {_current(chat)[name]}")
        return
    if is_generation(name):
        value = getattr(chat.model.generation, name) if text == "default" else read_value(name, text)
        chat.generation = dataclasses.replace(chat.generation, **{name: value})
    else:
        _override(chat, name, text)
        value = chat.overrides.get(name)
    shown = format_biases(value or ()) if name == "logit_bias" else format_value(value)
    chat.setup.screen.say(f"{name} is the default again" if text == "default" else f"{name} = {shown}")


def _override(chat: Chat, name: str, text: str) -> None:
    overrides = {key: value for key, value in chat.overrides.items() if key != name}
    if text != "default":
        overrides[name] = read_value(name, text) if name != "logit_bias" else _biases(chat, text)
        dataclasses.replace(chat.generation.sampling, **overrides)  # refuses what is out of range
    chat.overrides = overrides


@command("params", summary="Show the options of sampling; * marks what /set changed")
def params(chat: Chat, argument: str) -> None:
    """Every setting and its value."""
    current = _current(chat)
    changed = {*chat.overrides, *(name for name in current if is_generation(name) and _is_changed(chat, name))}
    lines = (f"{'*' if name in changed else ' '} {name} = {value}" for name, value in current.items())
    chat.setup.screen.show("\n".join(lines))


@command(
    "think",
    arguments="on | off | show | hide",
    summary="Whether the model thinks first, and whether it is shown",
    choices=("on", "off", "show", "hide"),
)
def think(chat: Chat, argument: str) -> None:
    """For models whose template knows thinking."""
    if argument in ("on", "off"):
        chat.thinks = argument == "on"
    elif argument in ("show", "hide"):
        chat.shows_reasoning = argument == "show"
    else:
        raise UsageError("/think takes on, off, show or hide")
    thinks, shows = "thinks" if chat.thinks else "does not think", "is shown" if chat.shows_reasoning else "is hidden"
    chat.setup.screen.say(f"the model {thinks} first, if its template knows that; what it thinks {shows}")


def _biases(chat: Chat, text: str) -> tuple[Bias, ...]:
    """Those that were set, and one more; of a token that has one already the new one counts."""
    if text.lower() == "none":
        return ()
    try:
        token, bias = chat.setup.read_bias(text)
    except ValueError as error:
        raise UsageError(f"{error}") from None
    chat.engine().resolve_biases([(token, bias)])  # refuses what the model has not
    return (*(one for one in chat.overrides.get("logit_bias", ()) if one[0] != token), (token, bias))


def _current(chat: Chat) -> dict[str, str]:
    """Every setting as it is shown."""
    sampling = chat.sampling()
    shown = {
        name: format_value(getattr(chat.generation if is_generation(name) else sampling, name)) for name in setting_names()
    }
    return {**shown, "logit_bias": format_biases(chat.overrides.get("logit_bias", sampling.logit_bias))}


def _is_changed(chat: Chat, name: str) -> bool:
    return bool(getattr(chat.generation, name) != getattr(chat.model.generation, name))
