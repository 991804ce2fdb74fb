"""The real program in a process of its own, with an engine that does what a scene says: `chat_program.py SCENE ARGUMENTS...`.

SCENE is a JSON file: `answers`, the next one for each turn; `pause`, seconds between two pieces of an answer; `reading`,
seconds that a prompt takes; `calls`, whether answers may call tools in Hermes' form.
"""

from __future__ import annotations

import dataclasses
import json
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

from fakes import FakeEngine, FakePrompt

from llamacli.cli.boundary import run_program
from llamacli.cli.framework.console import Console
from llamacli.cli.framework.context import AppContext
from llamacli.engine.chat.template import ChatTemplate
from llamacli.engine.events import Finished, Prefill, Timings, Token, Usage

HERMES = (
    "{%- if tools %}{{- '<|im_start|>system\\n' }}<tools>{%- for tool in tools %}{{ tool | tojson }}{%- endfor %}</tools>"
    'For each call: <tool_call>\n{"name": <function-name>, "arguments": <args-dict>}\n</tool_call><|im_end|>\\n{%- endif %}'
    "{%- for message in messages %}{{- '<|im_start|>' + message.role + '\\n' }}{{- message.content }}"
    "{%- if message.tool_calls %}{%- for call in message.tool_calls %}<tool_call>\n"
    '{"name": "{{ call.function.name }}", "arguments": {{ call.function.arguments | tojson }}}\n</tool_call>'
    "{%- endfor %}{%- endif %}{{- '<|im_end|>\\n' }}{%- endfor %}"
    "{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}{%- endif %}"
)
"""A template whose calls llama.cpp reads as those of Hermes 2 Pro."""

PIECE = 4


@dataclass
class SceneEngine(FakeEngine):
    """Answers with texts, in small pieces and at some pace."""

    answers: list[str] = field(default_factory=list)
    pause: float = 0.0
    reading: float = 0.0
    calls: bool = False

    def chat_turn(self, messages, rendering, **more):
        turn = super().chat_turn(messages, rendering, **more)
        if not self.calls:
            return turn
        with ChatTemplate(HERMES, bos="", eos="<|im_end|>") as template:
            rendered = template.render(messages, rendering)
        return dataclasses.replace(turn, prompt=FakePrompt(rendered.text), answer_format=rendered.answer_format)

    def generate(self, prompt, params, *, guidance=None, samples=1, **_):
        self.cancelled, self.params = False, params
        until = time.monotonic() + self.reading
        while (left := until - time.monotonic()) > 0 and not self.cancelled:
            yield Prefill(0, round(100 * (1 - left / self.reading)), 100)
            time.sleep(0.02)
        text = self.answers.pop(0) if self.answers else "I have nothing more to say."
        made = 0
        for start in range(0, len(text), PIECE):
            if self.cancelled or made == params.max_tokens:
                break
            time.sleep(self.pause)
            piece = text[start : start + PIECE]
            made += 1
            yield Token(0, made, piece.encode(), piece)
        count = len(prompt.tokens)
        reason = "cancelled" if self.cancelled else "length" if made == params.max_tokens else "stop"
        yield Finished(0, reason, Usage(count, made), Timings(count, 10.0, made, 100.0))


def main() -> int:
    """Runs the command line behind SCENE."""
    app = AppContext(
        console=Console.system(),
        open_engine=SceneEngine(**json.loads(Path(sys.argv[1]).read_text())).open,
        find_model=lambda app, reference, *, offline: Path(reference or "demo.gguf"),
        find_projector=lambda *_, **__: None,
    )
    return run_program(sys.argv[2:], app)


if __name__ == "__main__":
    sys.exit(main())
