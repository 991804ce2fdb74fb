"""Images from Python: as parts of messages, with a projector by its path or by a handler of llama-cpp-python's names."""

from __future__ import annotations

import pytest
from pictures import image_part
from tiny_vision import VisionModel, vision_model

from llamacli import Llama
from llamacli.api.chat.projectors import NAMES
from llamacli.errors import UsageError
from llamacli.llama_cpp import llama_chat_format


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> VisionModel:
    return vision_model(tmp_path_factory.mktemp("seeing"))


def ask(llm: Llama, color: str) -> str:
    messages = [{"role": "user", "content": [image_part(color), {"type": "text", "text": "What is it?"}]}]
    return llm.create_chat_completion(messages, max_tokens=3, temperature=0)["choices"][0]["message"]["content"].strip()


def test_messages_have_images(model):
    with Llama(str(model.model), mmproj=model.projector, n_ctx=512) as llm:
        assert [ask(llm, color) for color in ("red", "blue")] == ["red", "blue"]
    with Llama(str(model.model), n_ctx=512) as llm, pytest.raises(UsageError, match="takes no images"):
        ask(llm, "red")


def test_a_handler_brings_the_projector(model):
    handler = llama_chat_format.Llava15ChatHandler(clip_model_path=str(model.projector), verbose=False)
    with Llama(str(model.model), chat_handler=handler, n_ctx=512) as llm:
        assert ask(llm, "green") == "green"
    with pytest.raises(UsageError, match="mmproj cannot be used with a chat_handler"):
        Llama(str(model.model), chat_handler=handler, mmproj=model.projector)


@pytest.mark.parametrize("name", NAMES)
def test_each_name_is_a_handler(name):
    made = getattr(llama_chat_format, name)("mmproj.gguf")
    assert (type(made).__name__, made.clip_model_path) == (name, "mmproj.gguf")


def test_a_handler_needs_a_path():
    with pytest.raises(UsageError, match="clip_model_path"):
        llama_chat_format.MTMDChatHandler(5)


def test_a_model_in_another_process_takes_images(model):
    handler = llama_chat_format.MTMDChatHandler(model.projector)
    with Llama(str(model.model), chat_handler=handler, n_ctx=512, isolated=True) as llm:
        assert ask(llm, "blue") == "blue"
