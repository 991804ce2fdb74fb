"""Libraries that import llama_cpp, unmodified: each works when llamacli has that name. Those that are missing are skipped;
CONTRIBUTING.md has the commands that install them.

Each runs in a process of its own: the name is for a whole process, and these libraries warn of much.
"""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

START = """
import llamacli
llamacli.install_as_llama_cpp()
MODEL = {model!r}
"""

LANGCHAIN = """
from langchain_community.chat_models import ChatLlamaCpp
from langchain_community.llms import LlamaCpp
from langchain_core.tools import tool
from pydantic import BaseModel

@tool
def weather(city: str) -> str:
    "The weather in a city"
    return "12 C"

class Answer(BaseModel):
    "An answer"
    is_right: bool

llm = LlamaCpp(model_path=MODEL, n_ctx=512, verbose=False, max_tokens=4, temperature=0)
assert isinstance(llm.invoke("Hello"), str)
assert "".join(llm.stream("Hello")) == llm.invoke("Hello")
chat = ChatLlamaCpp(model_path=MODEL, n_ctx=4096, verbose=False, max_tokens=2000, temperature=0)
assert chat.bind(max_tokens=4).invoke("Hello").content is not None
assert [call["name"] for call in chat.bind_tools([weather], tool_choice="weather").invoke("Hello").tool_calls] == ["weather"]
assert isinstance(chat.with_structured_output(Answer).invoke("Is it?"), Answer)
"""

LANGCHAIN_EMBEDDINGS = """
from langchain_community.embeddings import LlamaCppEmbeddings

embeddings = LlamaCppEmbeddings(model_path=MODEL, n_ctx=128, verbose=False)
one, two = embeddings.embed_documents(["one text", "another"])
assert len(one) == len(two) == len(embeddings.embed_query("one text")) > 8
"""

LLAMA_INDEX = """
from llama_index.llms.llama_cpp import LlamaCPP

llm = LlamaCPP(model_path=MODEL, context_window=256, max_new_tokens=4, temperature=0.0, verbose=False)
whole = llm.complete("Hello").text
assert "".join(part.delta for part in llm.stream_complete("Hello")) == whole
"""

INSTRUCTOR = """
import instructor
from llama_cpp import Llama
from pydantic import BaseModel

class Answer(BaseModel):
    is_right: bool

with Llama(MODEL, n_ctx=2048, verbose=False, seed=1) as llama:
    create = instructor.patch(create=llama.create_chat_completion_openai_v1, mode=instructor.Mode.JSON_SCHEMA)
    messages = [{{"role": "user", "content": "Is it?"}}]
    assert isinstance(create(messages=messages, response_model=Answer, temperature=0), Answer)
"""

FORMAT_ENFORCER = """
import re
from llama_cpp import Llama, LogitsProcessorList
from lmformatenforcer import RegexParser
from lmformatenforcer.integrations.llamacpp import build_llamacpp_logits_processor, build_token_enforcer_tokenizer_data

with Llama(MODEL, n_ctx=256, verbose=False) as llama:
    data = build_token_enforcer_tokenizer_data(llama)
    processors = LogitsProcessorList([build_llamacpp_logits_processor(data, RegexParser("[0-9]{{3}}-[a-z]{{2}}"))])
    text = llama("A code: ", logits_processor=processors, max_tokens=20, temperature=0)["choices"][0]["text"]
    assert re.fullmatch("[0-9]{{3}}-[a-z]{{2}}", text), text
"""

OUTLINES = """
import outlines
from typing import Literal
from llama_cpp import Llama
from outlines.types import Regex
from pydantic import BaseModel

class Answer(BaseModel):
    is_right: bool

with Llama(MODEL, n_ctx=1024, verbose=False, seed=1) as llama:
    model = outlines.from_llamacpp(llama)
    assert model("Is it?", Literal["yes", "no"], max_tokens=10) in ("yes", "no")
    assert set("".join(model.stream("Is it?", Regex("[ab]{{3}}"), max_tokens=10))) <= {{"a", "b"}}
    found = Answer.model_validate_json(model("Is it?", Answer, max_tokens=300))
    assert isinstance(found.is_right, bool)
"""

GUIDANCE = """
from guidance import gen, models, select

lm = models.LlamaCpp(MODEL, n_ctx=256, echo=False)
lm += "Is it? " + select(["yes", "no"], name="answer") + " Number: " + gen(regex="[0-9]{{3}}", name="number")
assert lm["answer"] in ("yes", "no")
assert len(lm["number"]) == 3 and lm["number"].isdigit()
lm += " and freely: " + gen(max_tokens=4, name="free")
assert isinstance(lm["free"], str)
"""


def run(code: str, model: Path, *needs: str) -> None:
    for name in needs:
        if importlib.util.find_spec(name) is None:
            pytest.skip(f"{name} is not installed")
    program = START.format(model=str(model)) + code.replace("{{", "{").replace("}}", "}")
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]


def test_langchain(tiny_model: Path) -> None:
    run(LANGCHAIN, tiny_model, "langchain_community")


def test_langchain_embeddings(tiny_embedding_model: Path) -> None:
    run(LANGCHAIN_EMBEDDINGS, tiny_embedding_model, "langchain_community")


def test_llama_index(tiny_model: Path) -> None:
    if importlib.util.find_spec("llama_index") is None or importlib.util.find_spec("llama_index.llms.llama_cpp") is None:
        pytest.skip("llama-index-llms-llama-cpp is not installed")
    run(LLAMA_INDEX, tiny_model)


def test_instructor(tiny_model: Path) -> None:
    run(INSTRUCTOR, tiny_model, "instructor")


@pytest.mark.demo
def test_lm_format_enforcer(demo_model: Path) -> None:
    run(FORMAT_ENFORCER, demo_model, "lmformatenforcer")


def test_outlines(tiny_model: Path) -> None:
    run(OUTLINES, tiny_model, "outlines", "numba")


def test_guidance(tiny_model: Path) -> None:
    run(GUIDANCE, tiny_model, "guidance")
