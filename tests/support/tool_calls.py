"""A tool, and the text of an answer that calls it."""

from __future__ import annotations

import json
import sys

LOOK = {
    "type": "function",
    "function": {
        "name": "look",
        "description": "Looks at a place.",
        "parameters": {"type": "object", "properties": {"place": {"type": "string"}}, "required": ["place"]},
    },
    "command": [sys.executable, "-c", "import json, sys; print('seen:', json.load(sys.stdin)['place'])"],
}


def called(name: str = "look", **arguments: object) -> str:
    """An answer that calls a tool."""
    return f'<tool_call>\n{{"name": "{name}", "arguments": {json.dumps(arguments, ensure_ascii=False)}}}\n</tool_call>'
