"""Requests with images: each API's form, what the model answers, and what is refused."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from pictures import data_url, image_part
from serving import LiveServer, serving, spec_of
from tiny_vision import COLOURS, vision_model

TEXT = {"type": "text", "text": "What is it?"}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    seeing = vision_model(tmp_path_factory.mktemp("seeing"))
    with serving(spec_of(seeing.model, name="seeing", find_projector=lambda path: seeing.projector)) as live:
        yield live


def chat(server: LiveServer, *parts: Any) -> Any:
    body = {"messages": [{"role": "user", "content": list(parts)}], "max_tokens": 3, "temperature": 0}
    return server.post("/v1/chat/completions", body)


@pytest.mark.parametrize("color", COLOURS)
def test_the_answer_depends_on_the_picture(server: LiveServer, color: str) -> None:
    data = data_url(color).partition(",")[2]
    block = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": data}}
    message = {"role": "user", "content": [block, TEXT]}
    item = {"role": "user", "content": [{"type": "input_image", "image_url": data_url(color)}]}
    sampling = {"model": "seeing", "temperature": 0}
    asked = (
        chat(server, image_part(color), TEXT).json()["choices"][0]["message"]["content"],
        server.post("/v1/messages", {**sampling, "messages": [message], "max_tokens": 3}).json()["content"][0]["text"],
        server.post("/v1/responses", {**sampling, "input": [item], "max_output_tokens": 3}).json()["output"][0]["content"],
    )
    answers = (*asked[:2], asked[2][0]["text"])
    assert [answer.strip() for answer in answers] == [color] * 3


def test_the_properties_say_what_the_model_takes(server: LiveServer) -> None:
    assert server.get("/props").json()["modalities"] == {"vision": True, "audio": False}


@pytest.mark.parametrize(
    ("part", "code", "words"),
    [
        ({"type": "image_url", "image_url": {"url": "http://127.0.0.1/x.png"}}, "invalid_value", "not a data URL"),
        ({"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}, "invalid_media", "not a picture"),
        ({"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}}, "invalid_media", "not a sound"),
    ],
)
def test_other_images_are_refused(server: LiveServer, part: Any, code: str, words: str) -> None:
    reply = chat(server, part, TEXT)
    assert (reply.status, reply.json()["error"]["code"]) == (400, code)
    assert words in reply.json()["error"]["message"]
