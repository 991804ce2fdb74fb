"""Requests with images: each API's form, what the model answers, and what is refused."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from pictures import audio_part, data_url, image_part
from serving import LiveServer, serving, spec_of, wait_for
from tiny_vision import COLOURS, vision_model

from llamacli.backend.child.decoder import MediaDecoder
from llamacli.media.decoder import current_decoder

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


def test_a_model_of_text_refuses_images(tmp_path: Path) -> None:
    """In each API, and its next request is answered."""
    data = data_url().partition(",")[2]
    block = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": data}}
    with serving(spec_of(vision_model(tmp_path).model, name="blind")) as live:
        message = {"role": "user", "content": [block]}
        item = {"role": "user", "content": [{"type": "input_image", "image_url": data_url()}]}
        replies = [
            chat(live, image_part(), TEXT),
            live.post("/v1/messages", {"model": "blind", "max_tokens": 3, "messages": [message]}),
            live.post("/v1/responses", {"input": [item]}),
            chat(live, audio_part(), TEXT),
        ]
        said = [(reply.status, reply.json()["error"]["message"].partition(" (")[0]) for reply in replies]
        assert said == [(400, f"this model takes no {what}") for what in ("images", "images", "images", "sound")]
        assert chat(live, TEXT).status == 200


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


def test_a_picture_that_ends_its_decoder_holds_nobody_up_and_is_refused(server: LiveServer) -> None:
    assert chat(server, image_part("red"), TEXT).status == 200
    decoder = current_decoder()
    assert isinstance(decoder, MediaDecoder)
    child = decoder._child._child
    assert child is not None
    os.kill(child.pid, signal.SIGSTOP)
    with ThreadPoolExecutor(1) as pool:
        asking = pool.submit(chat, server, image_part("blue"), TEXT)
        wait_for(decoder._child._working.locked)
        assert server.get("/health").status == 200
        text = {"type": "text", "text": "world " * 2000}
        assert chat(server, text).status == 200
        assert not asking.done()
        os.kill(child.pid, signal.SIGSEGV)
        os.kill(child.pid, signal.SIGCONT)
        reply = asking.result()
    assert (reply.status, reply.json()["error"]["code"]) == (400, "invalid_media")
    assert reply.json()["error"]["message"].startswith("message 1: the image cannot be read: it ended the process")
    assert chat(server, image_part("blue"), TEXT).json()["choices"][0]["message"]["content"].strip() == "blue"


def test_words_with_escaped_letters_are_pictures_all_the_same(server: LiveServer) -> None:
    body = json.dumps(
        {"messages": [{"role": "user", "content": [image_part("green"), TEXT]}], "max_tokens": 3, "temperature": 0}
    )
    sent = body.replace("image_url", r"i\u006dage_url").encode()
    reply = server.request("POST", "/v1/chat/completions", body=sent, headers={"content-type": "application/json"})
    assert reply.json()["choices"][0]["message"]["content"].strip() == "green"
