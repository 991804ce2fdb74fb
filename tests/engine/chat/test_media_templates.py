"""Pictures in chat templates that are built like those of Gemma, Qwen-VL, LLaVA and SmolVLM."""

from __future__ import annotations

import pytest

from llamacli.engine.chat.message import Message
from llamacli.engine.chat.template import ChatTemplate
from llamacli.engine.media.media import Media, new_image, new_sound

GEMMA = """{{ bos_token }}{% for message in messages %}{{ '<start_of_turn>' + message['role'] + '\\n' }}
{%- if message['content'] is string %}{{ message['content'] | trim }}
{%- else %}{% for item in message['content'] %}{% if item['type'] == 'image' %}{{ '<start_of_image>' }}
{%- elif item['type'] == 'text' %}{{ item['text'] | trim }}{% endif %}{% endfor %}{% endif %}{{ '<end_of_turn>\\n' }}
{%- endfor %}{% if add_generation_prompt %}{{ '<start_of_turn>model\\n' }}{% endif %}"""

QWEN_VL = """{% for message in messages %}<|im_start|>{{ message['role'] }}
{% if message['content'] is string %}{{ message['content'] }}<|im_end|>
{% else %}{% for item in message['content'] %}{% if item['type'] == 'image' %}<|vision_start|><|image_pad|><|vision_end|>
{%- elif 'text' in item %}{{ item['text'] }}{% endif %}{% endfor %}<|im_end|>
{% endif %}{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant
{% endif %}"""

LLAVA = """{% for message in messages %}{% if message['role'] == 'user' %}USER: {{ message['content'] }} ASSISTANT:
{%- else %} {{ message['content'] }}</s>{% endif %}{% endfor %}"""

SMOLVLM = """<|im_start|>{% for message in messages %}{{ message['role'] | capitalize }}
{%- if message['content'][0]['type'] == 'image' %}:{% else %}: {% endif %}
{%- for line in message['content'] %}{% if line['type'] == 'text' %}{{ line['text'] }}
{%- elif line['type'] == 'image' %}{{ '<image>' }}{% endif %}{% endfor %}<end_of_utterance>
{% endfor %}{% if add_generation_prompt %}{{ 'Assistant:' }}{% endif %}"""

TEMPLATES = {"gemma": GEMMA, "qwen-vl": QWEN_VL, "llava": LLAVA, "smolvlm": SMOLVLM, "chatml": "chatml", "built in": "vicuna"}

FIRST, SECOND = new_image(2, 2, bytes(12)), new_image(1, 2, bytes(6))
SOUND = new_sound(16000, bytes(64))
MARKS = "<image> <start_of_image> <|image_pad|> <__media__> [img-1]"


def pieces(source: str, messages: list[Message]) -> list[str | Media]:
    """The parts of a prompt: texts, with the template's and the user's own joined, and pictures."""
    found: list[str | Media] = []
    with ChatTemplate(source, bos="<bos>") as template:
        for part in template.render(messages).parts:
            if part.media is not None:
                found.append(part.media)
            elif found and isinstance(found[-1], str):
                found[-1] += part.text
            else:
                found.append(part.text)
    return found


@pytest.mark.parametrize("name", TEMPLATES)
def test_pictures_stay_in_their_places(name: str) -> None:
    messages = [
        Message("user", (FIRST, "What is this?", SECOND, "And this?")),
        Message("assistant", "A cat, and a dog."),
        Message("user", ("Which is older?", FIRST, SOUND)),
    ]
    found = pieces(TEMPLATES[name], messages)
    assert [one for one in found if isinstance(one, Media)] == [FIRST, SECOND, FIRST, SOUND]
    shown = "".join(one if isinstance(one, str) else "@" for one in found)
    order = ["@", "What is this?", "@", "And this?", "A cat, and a dog.", "Which is older?", "@", "@"]
    place = 0
    for text in order:
        place = shown.index(text, place) + len(text)
    assert "media" not in shown


@pytest.mark.parametrize("name", TEMPLATES)
def test_marks_of_users_are_their_text(name: str) -> None:
    with ChatTemplate(TEMPLATES[name], bos="<bos>") as template:
        parts = template.render([Message("user", (MARKS, FIRST, MARKS))]).parts
    assert [part.media for part in parts if part.media is not None] == [FIRST]
    written = "".join(part.text for part in parts if part.is_input and part.media is None)
    assert written.count(MARKS) == 2
    assert not any(mark in part.text for part in parts if not part.is_input for mark in MARKS.split())


@pytest.mark.parametrize("name", TEMPLATES)
def test_a_picture_alone(name: str) -> None:
    found = pieces(TEMPLATES[name], [Message("user", (SECOND,))])
    assert [one for one in found if isinstance(one, Media)] == [SECOND]
