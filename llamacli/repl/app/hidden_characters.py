"""Marks in the prompt line for pasted or completed characters that hide or reorder text."""

from __future__ import annotations

from bisect import bisect_right

from prompt_toolkit.formatted_text import StyleAndTextTuples
from prompt_toolkit.formatted_text.utils import fragment_list_to_text
from prompt_toolkit.layout.processors import Processor, Transformation, TransformationInput
from prompt_toolkit.layout.utils import explode_text_fragments

from llamacli.render.text import escape


class ShowHidden(Processor):
    """Shows such characters as marks, and leaves the text unchanged. prompt_toolkit marks control characters itself."""

    def apply_transformation(self, transformation_input: TransformationInput) -> Transformation:
        """Return the line as it is shown, with the mapping between its columns and the text."""
        fragments = transformation_input.fragments
        if all(shown(char) == char for char in fragment_list_to_text(fragments)):
            return Transformation(fragments)
        starts, marked, column = [], [], 0
        for style, char, *_ in explode_text_fragments(fragments):
            text = shown(char)
            starts.append(column)
            marked.append((style if text == char else f"{style} class:mark", text))
            column += len(text)
        starts.append(column)
        result: StyleAndTextTuples = [*marked]
        return Transformation(
            result,
            source_to_display=lambda index: starts[min(index, len(starts) - 1)] + max(index - len(starts) + 1, 0),
            display_to_source=lambda index: max(bisect_right(starts, index) - 1, 0),
        )


def shown(char: str) -> str:
    """Return a character as it is shown in the prompt line."""
    return char if char < "\xa0" else escape(char)
