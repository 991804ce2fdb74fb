"""Tools with which a chat template fails: they are left out, so that the others can be used."""

from __future__ import annotations

import dataclasses
import json
import logging
from collections.abc import Callable
from typing import TypeVar

from llamacli.engine.chat.message import Message, Tool
from llamacli.engine.chat.rendering import Rendering
from llamacli.engine.chat.template import ChatTemplate
from llamacli.errors import TemplateError

T = TypeVar("T")
logger = logging.getLogger(__name__)


class FaultyTools:
    """The tools that one template cannot describe: a sound schema can be beyond it, with a list as a `type` for example."""

    def __init__(self) -> None:
        self._known: set[str] = set()

    def render(self, template: ChatTemplate, rendering: Rendering, work: Callable[[Rendering], T]) -> T:
        """Return what `work` makes with the rendering; if the template fails with some tools, without these.

        Each of them is said once.

        Raises:
            TemplateError: if the template fails without tools too, with all of them together only, or if a call is required and
                no tool is left.
        """
        usable = self._without(rendering)
        try:
            return work(usable)
        except TemplateError:
            reasons = _reasons(template, usable)
            if not reasons or (len(reasons) == len(usable.tools) and rendering.tool_choice == "required"):
                raise
            for tool, reason in reasons:
                self._known.add(_key(tool))
                logger.warning("the tool %s is left out: with it, %s", tool.name, reason)
        return work(self._without(rendering))

    def _without(self, rendering: Rendering) -> Rendering:
        if not self._known:
            return rendering
        tools = tuple(tool for tool in rendering.tools if _key(tool) not in self._known)
        if not tools and rendering.tool_choice == "required":
            return rendering  # the template's own error says what is wrong
        return dataclasses.replace(rendering, tools=tools)


def _reasons(template: ChatTemplate, rendering: Rendering) -> list[tuple[Tool, str]]:
    """Return the tools with which the template fails alone, and why; none if it fails without them too."""
    failures = []
    for tool in (None, *rendering.tools):
        alone = dataclasses.replace(rendering, tools=() if tool is None else (tool,), tool_choice="auto")
        try:
            template.render([Message("user", "Hi")], dataclasses.replace(alone, continue_final_message=None))
        except TemplateError as error:
            if tool is None:
                return []
            failures.append((tool, error.message))
    return failures


def _key(tool: Tool) -> str:
    return json.dumps(tool.to_json(), sort_keys=True)
