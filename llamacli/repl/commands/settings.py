"""The commands about generation: system prompt, sampling, reasoning."""

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
    """Change it from the next message on, for the whole conversation."""
    if argument:
        chat.settings.system = None if argument == "none" else argument
        chat.setup.screen.note("system prompt changed" if chat.settings.system else "system prompt removed")
    else:
        chat.setup.screen.show(chat.settings.system or "no system prompt")


@command(
    "set",
    arguments="NAME VALUE",
    summary="Change a sampling parameter; VALUE default resets it",
    completes="settings",
)
def set_(chat: Chat, argument: str) -> None:
    """Change one parameter of the next answers."""
    word, _, text = argument.partition(" ")
    if not word:
        raise UsageError("/set needs a name and a value", hint="/params lists the parameters")
    name, text = setting_name(word), text.strip()
    if not text:
        chat.setup.screen.show(f"{name} = {_current(chat)[name]}")
        return
    if is_generation(name):
        value = getattr(chat.model.found.generation, name) if text == "default" else read_value(name, text)
        chat.settings.generation = dataclasses.replace(chat.settings.generation, **{name: value})
    else:
        _override(chat, name, text)
        value = chat.settings.overrides.get(name)
    shown = format_biases(value or ()) if name == "logit_bias" else format_value(value)
    chat.setup.screen.note(f"{name} reset to the default" if text == "default" else f"{name} = {shown}")


def _override(chat: Chat, name: str, text: str) -> None:
    overrides = {key: value for key, value in chat.settings.overrides.items() if key != name}
    if text != "default":
        overrides[name] = read_value(name, text) if name != "logit_bias" else _biases(chat, text)
        dataclasses.replace(chat.settings.generation.sampling, **overrides)  # rejects values out of range
    chat.settings.overrides = overrides


@command("params", summary="Show the sampling parameters; * marks what /set changed")
def params(chat: Chat, argument: str) -> None:
    """Show every parameter and its value."""
    current = _current(chat)
    changed = {*chat.settings.overrides, *(name for name in current if is_generation(name) and _is_changed(chat, name))}
    for name, value in current.items():
        start = f"{'*' if name in changed else ' '} {name} = "
        chat.setup.screen.show_row(start, value)


@command(
    "think",
    arguments="on | off | show | hide",
    summary="Enable, disable, show or hide reasoning",
    choices=("on", "off", "show", "hide"),
)
def think(chat: Chat, argument: str) -> None:
    """Control reasoning, for models whose template supports it."""
    settings = chat.settings
    if argument in ("on", "off"):
        settings.thinking = argument == "on"
    elif argument in ("show", "hide"):
        settings.shows_reasoning = argument == "show"
    else:
        raise UsageError("/think needs on, off, show or hide")
    state, view = "on" if settings.thinking else "off", "shown" if settings.shows_reasoning else "hidden"
    chat.setup.screen.note(f"reasoning is {state}, if the template supports it, and {view}")


def _biases(chat: Chat, text: str) -> tuple[Bias, ...]:
    """Return the biases that were set, and one more, which replaces an older one of the same token."""
    if text.lower() == "none":
        return ()
    try:
        token, bias = chat.setup.host.read_bias(text)
    except ValueError as error:
        raise UsageError(f"{error}") from None
    chat.engine().resolve_biases([(token, bias)])  # rejects tokens that the model does not have
    return (*(one for one in chat.settings.overrides.get("logit_bias", ()) if one[0] != token), (token, bias))


def _current(chat: Chat) -> dict[str, str]:
    """Return every parameter as text."""
    sampling = chat.sampling()
    shown = {
        name: format_value(getattr(chat.settings.generation if is_generation(name) else sampling, name))
        for name in setting_names()
    }
    return {**shown, "logit_bias": format_biases(chat.settings.overrides.get("logit_bias", sampling.logit_bias))}


def _is_changed(chat: Chat, name: str) -> bool:
    return bool(getattr(chat.settings.generation, name) != getattr(chat.model.found.generation, name))
