"""The page, in a headless browser."""

from __future__ import annotations

import dataclasses
import itertools
import json
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from answers import answer_events, token
from browser import Browser, find_browser
from chat_server import ChatServer
from serving import LiveServer, serving, spec_of

from llamacli.engine.chat.message import ToolCall
from llamacli.engine.events import Answer, AnswerEvent, Delta, Piece, Prefill, Token, TokenLogprob
from llamacli.errors import DecodeError
from llamacli.server.page import load_page
from llamacli.store.api_keys import ApiKey, digest_of

MOST_BYTES = 100_000
PROGRAM = find_browser()
in_browser = pytest.mark.skipif(PROGRAM is None, reason="no Chromium: install it, or name one in LLAMACLI_TEST_BROWSER")


# --- the file -------------------------------------------------------------------------------------------------------------


def test_the_page_is_small_and_asks_for_nothing_elsewhere() -> None:
    page = load_page()
    text = page.body.decode()
    assert len(page.body) <= MOST_BYTES
    assert not re.search(r"(?:src|href)=[\"']?(?:https?:)?//|@import|url\((?!data:)", text)
    assert not re.search(r"\s(?:style|on\w+)=[\"']", text), "the policy refuses inline styles and handlers"
    for sink in ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "new Function"):
        assert sink not in text


def test_the_policy_allows_the_page_only() -> None:
    policy = dict(part.split(" ", 1) for part in load_page().headers["content-security-policy"].split("; "))
    assert policy["default-src"] == "'none'"
    assert policy["connect-src"] == "'self'"
    for kind in ("script-src", "style-src"):
        assert re.fullmatch(r"'sha256-[A-Za-z0-9+/]{43}='", policy[kind])


def test_every_control_has_a_name() -> None:
    text = load_page().body.decode().split("<script", 1)[0]
    for button in re.findall(r"<button([^>]*)>([^<]*)</button>", text):
        assert button[1].strip() or "aria-label=" in button[0], button
    for name, attributes in re.findall(r"<(input|textarea|select)\b([^>]*)>", text):
        labelled = "aria-label=" in attributes or re.search(rf"<label>[^\n]*(?:\n\s*)?<{name}{re.escape(attributes)}>", text)
        assert labelled, attributes


# --- in a browser ---------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with Browser(PROGRAM or "", tmp_path_factory.mktemp("browser")) as browser:
        yield browser


@pytest.fixture
def server(browser: Browser) -> Iterator[ChatServer]:
    """A server that answers "Hello **you**.", opened in the browser. At the end, nothing may have gone wrong."""
    with ChatServer(lambda _: answer_events("Hello", " **you**", ".")) as server:
        open_page(browser, server)
        yield server
        assert browser.problems == []
        assert all(url.startswith((server.url, "data:", "blob:")) for url in browser.requests)


def open_page(browser: Browser, server: ChatServer) -> None:
    browser.problems.clear()
    browser.requests.clear()
    browser.open(server.url)
    browser.wait("document.querySelector('#model option')")


def say(browser: Browser, text: str) -> None:
    browser.click("#input")
    browser.type(text)
    browser.press("Enter")
    finished(browser)


def finished(browser: Browser) -> None:
    browser.wait("!document.querySelector('#send').hidden")


def texts(browser: Browser, selector: str) -> list[str]:
    return browser.run(f"[...document.querySelectorAll({json.dumps(selector)})].map((one) => one.innerText)")


def press_button(browser: Browser, text: str, within: str = "#log article:last-child footer") -> None:
    """Click the button with a text."""
    found = browser.run(
        f"(() => {{ const all = [...document.querySelectorAll({json.dumps(within + ' button')})];"
        f" const found = all.find((one) => one.innerText.trim() === {json.dumps(text)});"
        " document.querySelectorAll('[data-wanted]').forEach((one) => one.removeAttribute('data-wanted'));"
        " found?.setAttribute('data-wanted', ''); return Boolean(found); })()"
    )
    assert found, f"there is no button {text}"
    browser.click("[data-wanted]")


@in_browser
def test_an_answer_streams_as_markdown_with_its_speed(browser: Browser, server: ChatServer) -> None:
    say(browser, "Hi")
    assert texts(browser, "article .body") == ["Hi", "Hello you."]
    assert browser.run("document.querySelector('.text strong').innerText") == "you"
    assert "3 tokens" in texts(browser, ".speed")[0]
    assert "100.0 tokens/s" in texts(browser, ".speed")[0]
    assert "2 cached" in texts(browser, ".speed")[0]
    (asked,) = server.asked
    assert asked["messages"] == [{"role": "user", "content": "Hi"}]
    assert (asked["model"], asked["stream"], asked["top_logprobs"]) == ("tiny", True, 10)
    assert browser.run("document.querySelector('#announcer').innerText").startswith("The answer is complete")


MARKDOWN = """# Title

A line with `code`, *soft*, **strong**, ~~gone~~ and a [link](https://example.org/a_b).
Second line: 2 * 3 * 4, snake_case_name, \\*no\\*, https://example.org/x.

- one
- two
  - inner **bold**

    ```py
    print("<b>")
    ```
3. three

> quoted
> text

| a | b |
|---|--:|
| 1 | `2` |

```html
<script>alert(1)</script>
```
---
<img src=x onerror="document.title='owned'"> [bad](javascript:alert(1)) ![picture](https://example.org/p.png)"""


@in_browser
def test_markdown_is_drawn_safely(browser: Browser, server: ChatServer) -> None:
    pieces = re.findall(r".{1,7}", MARKDOWN, re.DOTALL)
    server.answers = lambda _: answer_events(*pieces)
    say(browser, "Show all")
    assert texts(browser, ".text h1") == ["Title"]
    assert texts(browser, ".text > p strong, .text > p em, .text > p del, .text > p code") == ["code", "soft", "strong", "gone"]
    assert "2 * 3 * 4, snake_case_name, *no*, https://example.org/x." in texts(browser, ".text p")[0]
    assert texts(browser, ".text > ul > li > ul strong, .text > ul li ul strong") == ["bold"]
    assert 'print("<b>")' in texts(browser, ".text li pre")[0]
    assert browser.run("document.querySelector('.text ol').start") == 3
    assert texts(browser, ".text blockquote") == ["quoted\ntext"]
    assert texts(browser, ".text td") == ["1", "2"]
    assert browser.run("document.querySelectorAll('.text td')[1].className") == "right"
    assert texts(browser, ".text > .code pre") == ["<script>alert(1)</script>"]
    assert browser.run("document.querySelectorAll('.text img, .text script, .text [onerror]').length") == 0
    assert browser.run("document.title") == "llamacli"
    links = browser.run("[...document.querySelectorAll('.text a')].map((one) => one.href)")
    assert links == ["https://example.org/a_b", "https://example.org/x", "https://example.org/p.png"]
    assert "<img src=x" in texts(browser, ".text")[0]
    assert "javascript:alert(1)" in texts(browser, ".text")[0]


@in_browser
def test_hostile_text_does_not_hold_up_the_page(browser: Browser, server: ChatServer) -> None:
    for text in ("*a " * 20_000, "[" * 20_000, "`" * 20_000 + "a", "> " * 500 + "deep", "- " * 500 + "deep", "_a_" * 10_000):
        server.answers = lambda _, text=text: answer_events(text)
        browser.press("n", alt=True)
        say(browser, "Hi")
        assert browser.run("document.querySelector('.text').innerText.length") > 0


@in_browser
def test_an_answer_is_stopped_and_what_there_is_stays(browser: Browser, server: ChatServer) -> None:
    server.pause = 0.05
    server.answers = lambda _: answer_events(*("word " for _ in range(200)))
    browser.click("#input")
    browser.type("Hi")
    browser.press("Enter")
    browser.wait("document.querySelector('article.assistant .text')?.innerText.includes('word word')")
    browser.press("Escape")
    finished(browser)
    assert "stopped" in texts(browser, ".speed")[0]
    assert "word" in texts(browser, "article.assistant .text")[0]
    deadline = time.monotonic() + 5
    while not server.left and time.monotonic() < deadline:
        time.sleep(0.02)
    assert server.left == 1


@in_browser
def test_messages_are_edited_as_branches_and_answers_made_again(browser: Browser, server: ChatServer) -> None:
    count = iter(range(100))
    server.answers = lambda _: answer_events(f"answer {next(count)}")
    say(browser, "first")
    press_button(browser, "Again")
    finished(browser)
    assert texts(browser, "article .body") == ["first", "answer 1"]
    assert texts(browser, ".branch") == ["2/2"]
    browser.click("#log article:last-child [aria-label='Branch before']")
    assert texts(browser, "article .body") == ["first", "answer 0"]
    browser.click("#input")
    browser.press("ArrowUp")
    browser.run("document.activeElement.value = ''")
    browser.type("second")
    browser.press("Enter")
    finished(browser)
    assert texts(browser, "article .body") == ["second", "answer 2"]
    assert server.asked[-1]["messages"] == [{"role": "user", "content": "second"}]
    browser.click("#log article:first-child [aria-label='Branch before']")
    assert texts(browser, "article .body") == ["first", "answer 0"]
    say(browser, "more")
    assert [message["content"] for message in server.asked[-1]["messages"]] == ["first", "answer 0", "more"]


@in_browser
def test_reasoning_is_folded(browser: Browser, server: ChatServer) -> None:
    server.answers = lambda _: answer_events(("reasoning", "I think "), ("reasoning", "hard."), "Yes.")
    say(browser, "Hi")
    assert browser.run("document.querySelector('details').open") is False
    browser.click("details summary")
    assert texts(browser, ".thought") == ["I think hard."]
    assert texts(browser, ".text") == ["Yes."]
    say(browser, "And?")
    assert server.asked[-1]["messages"][1] == {"role": "assistant", "content": "Yes.", "reasoning_content": "I think hard."}


@in_browser
def test_calls_are_shown_and_answered(browser: Browser, server: ChatServer) -> None:
    server.answers = lambda body: answer_events(
        "It is warm." if body["messages"][-1]["role"] == "tool" else ToolCall("look", '{"place": "x"}', id="call_1")
    )
    tools = [{"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}}]
    browser.press("s", alt=True)
    browser.run(f"document.querySelector('#set-tools').value = {json.dumps(json.dumps(tools))}")
    press_button(browser, "Save", "#settings")
    say(browser, "How is it?")
    assert server.asked[0]["tools"] == tools
    assert "look" in texts(browser, ".call")[0]
    assert '"place": "x"' in texts(browser, ".call pre")[0]
    browser.click("article form textarea")
    browser.type("20 degrees")
    press_button(browser, "Send results", "article form")
    finished(browser)
    assert server.asked[-1]["messages"][1:] == [
        {
            "role": "assistant",
            "content": "",
            "tool_calls": [{"id": "call_1", "type": "function", "function": {"name": "look", "arguments": '{"place": "x"}'}}],
        },
        {"role": "tool", "tool_call_id": "call_1", "content": "20 degrees"},
    ]
    assert texts(browser, "article .text")[-1] == "It is warm."


@in_browser
def test_settings_reach_the_server(browser: Browser, server: ChatServer) -> None:
    browser.press("s", alt=True)
    for name, value in {"system": "Be brief.", "temperature": "0.5", "seed": "7", "schema": "{oops", "max_tokens": "9"}.items():
        browser.run(f"document.querySelector('#set-{name}').value = {json.dumps(value)}")
    browser.run("document.querySelector('#set-reasoning_effort').value = 'none'")
    press_button(browser, "Save", "#settings")
    browser.wait("document.querySelector('#settings-problem').innerText.includes('not JSON')")
    browser.run("document.querySelector('#set-schema').value = '{\"type\": \"object\"}'")
    press_button(browser, "Save", "#settings")
    say(browser, "Hi")
    asked = server.asked[-1]
    assert asked["messages"][0] == {"role": "system", "content": "Be brief."}
    assert (asked["temperature"], asked["seed"], asked["max_tokens"], asked["reasoning_effort"]) == (0.5, 7, 9, "none")
    assert "top_p" not in asked
    assert asked["response_format"]["json_schema"]["schema"] == {"type": "object"}


def with_others(number: int, text: str, *others: str) -> Token:
    """A token with other choices in its place."""
    top = [TokenLogprob(number, text.encode(), -0.5), *(TokenLogprob(50, one.encode(), -2.0) for one in others)]
    return dataclasses.replace(token(number, text), top=tuple(top))


def with_choices(body: dict[str, Any]) -> Iterator[AnswerEvent]:
    """ "<think>", reasoning, "</think>", and text with other choices; what continues a start is "went on"."""
    if body.get("continue_final_message"):
        yield from answer_events(" went", " on")
        return
    yield Piece(0, (), with_others(1, "<think>"))
    yield Piece(0, (Delta(reasoning_content="hm"),), with_others(2, "hm", "so"))
    yield Piece(0, (), with_others(3, "</think>"))
    yield Piece(0, (), with_others(4, "\n\n"))
    for number, text in enumerate(("The", " sky", " is", " blue")):
        yield Piece(0, (Delta(text),), with_others(10 + number, text, " sea", "é"))
    yield next(event for event in answer_events("The sky is blue") if isinstance(event, Answer))


@in_browser
def test_an_answer_goes_on_from_another_choice_of_a_token(browser: Browser, server: ChatServer) -> None:
    server.answers = with_choices
    say(browser, "Hi")
    press_button(browser, "Tokens")
    assert texts(browser, ".body > .pieces button") == ["The", " sky", " is", " blue"]
    assert browser.run("document.querySelector('.body > .pieces button').title") == "60.7 %"
    browser.click("[data-token='5']")
    browser.wait("document.querySelector('#choices').matches(':popover-open')")
    assert [line.split("\n")[-1].strip() for line in texts(browser, "#choices button")] == ["␣sky", "␣sea", "é"]
    browser.press("ArrowDown")
    browser.press("Enter")
    finished(browser)
    asked = server.asked[-1]
    assert asked["messages"] == [
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": "The sea", "reasoning_content": "hm"},
    ]
    assert (asked["continue_final_message"], asked["add_generation_prompt"]) == (True, False)
    browser.wait("document.querySelector('.branch') && document.querySelectorAll('.body > .pieces button').length === 4")
    assert texts(browser, ".branch") == ["2/2"]
    assert texts(browser, ".body > .pieces button") == ["The", " sea", " went", " on"]
    press_button(browser, "Tokens")
    assert texts(browser, "article.assistant .text") == ["The sea went on"]


@in_browser
def test_reasoning_goes_on_from_another_choice_too(browser: Browser, server: ChatServer) -> None:
    server.answers = with_choices
    say(browser, "Hi")
    browser.click("details summary")
    press_button(browser, "Tokens")
    browser.click(".thought [data-token]")
    press_button(browser, texts(browser, "#choices button")[1], "#choices")
    finished(browser)
    assert server.asked[-1]["messages"][-1] == {"role": "assistant", "content": "", "reasoning_content": "so"}


@in_browser
def test_a_choice_that_is_no_whole_character_cannot_be_taken(browser: Browser, server: ChatServer) -> None:
    say(browser, "Hi")
    press_button(browser, "Tokens")
    browser.click("[data-token='0']")
    assert browser.run("[...document.querySelectorAll('#choices button')].map((one) => one.disabled)") == [False, True]
    browser.press("Escape")


@in_browser
def test_without_probabilities_none_are_asked_for(browser: Browser, server: ChatServer) -> None:
    browser.click("#probabilities")
    say(browser, "Hi")
    assert "logprobs" not in server.asked[-1]
    assert "Tokens" not in texts(browser, "#log article:last-child footer button")


@in_browser
def test_tokens_are_reached_by_keyboard(browser: Browser, server: ChatServer) -> None:
    server.answers = with_choices
    say(browser, "Hi")
    browser.press("t", alt=True)
    browser.wait("document.activeElement.dataset.token !== undefined")
    first = browser.run("document.activeElement.innerText")
    browser.press("ArrowRight")
    assert browser.run("document.activeElement.innerText") != first
    browser.press("Enter")
    browser.wait("document.querySelector('#choices').matches(':popover-open')")
    browser.press("Escape")
    browser.wait("!document.querySelector('#choices').matches(':popover-open')")


@in_browser
def test_a_cut_or_edited_answer_is_continued(browser: Browser, server: ChatServer) -> None:
    server.answers = lambda body: answer_events(" and on" if body.get("continue_final_message") else "On", reason="length")
    say(browser, "Hi")
    press_button(browser, "Edit")
    browser.run("document.activeElement.value = 'My words'")
    press_button(browser, "Save")
    press_button(browser, "Continue")
    finished(browser)
    assert server.asked[-1]["messages"][-1] == {"role": "assistant", "content": "My words"}
    browser.wait("document.querySelector('.pieces')")
    assert texts(browser, ".pieces span, .pieces button") == ["My words", " and on"]
    browser.click(".pieces button")
    press_button(browser, texts(browser, "#choices button")[0], "#choices")
    finished(browser)
    assert server.asked[-1]["messages"][-1]["content"] == "My words and on"


@in_browser
def test_images_are_sent_only_if_the_model_takes_them(browser: Browser, server: ChatServer) -> None:
    paste = """(() => { const data = new DataTransfer(); data.items.add(new File([new Uint8Array([137, 80])], 'a.png',
      {type: 'image/png'})); document.querySelector('#input').dispatchEvent(new ClipboardEvent('paste',
      {clipboardData: data, cancelable: true})); })()"""
    assert browser.run("document.querySelector('#attach').hidden")
    browser.run(paste)
    assert browser.run("document.querySelectorAll('#pending img').length") == 0
    server.vision = True
    open_page(browser, server)
    browser.wait("!document.querySelector('#attach').hidden")
    browser.run(paste)
    browser.wait("document.querySelector('#pending img')")
    say(browser, "What is it?")
    text, image = server.asked[-1]["messages"][0]["content"]
    assert text == {"type": "text", "text": "What is it?"}
    assert image == {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVA="}}


@in_browser
def test_conversations_stay_and_are_exported_and_imported(browser: Browser, server: ChatServer) -> None:
    server.answers = with_choices
    say(browser, "Remember me")
    open_page(browser, server)
    browser.wait("[...document.querySelectorAll('#list .open')].some((one) => one.innerText === 'Remember me')")
    browser.run(
        "document.querySelector('#filter').value = 'sky is blue'; "
        "document.querySelector('#filter').dispatchEvent(new Event('input'))"
    )
    assert texts(browser, "#list .open")[0] == "Remember me"
    browser.click("#list .open")
    assert texts(browser, "article .text") == ["The sky is blue"]
    exported = browser.run(
        "new Promise((resolve) => { const make = URL.createObjectURL; URL.createObjectURL = (blob) => {"
        " URL.createObjectURL = make; blob.text().then(resolve); return make.call(URL, blob); };"
        " document.querySelector('#export').click(); })"
    )
    document = json.loads(exported)
    kept = next(one for one in document["conversations"] if one["title"] == "Remember me")
    assert [node["content"] for node in kept["nodes"]] == ["Remember me", "The sky is blue"]
    hostile = {**kept, "id": "imported", "title": "<b>Imported</b>"}
    hostile["nodes"] = [*kept["nodes"], {"id": kept["nodes"][0]["id"], "parent": kept["nodes"][0]["id"], "role": "user"}]
    document["conversations"] = [hostile, {"nodes": 5}, None]
    put_file(browser, json.dumps(document))
    browser.wait("[...document.querySelectorAll('#list .open')].some((one) => one.innerText === '<b>Imported</b>')")
    put_file(browser, '{"format": "other"}')
    browser.wait("document.querySelector('#problem').innerText.includes('was not exported from this page')")


def put_file(browser: Browser, text: str) -> None:
    browser.run(
        f"(() => {{ const data = new DataTransfer(); data.items.add(new File([{json.dumps(text)}], 'c.json'));"
        " const field = document.querySelector('#import-file'); field.files = data.files;"
        " field.dispatchEvent(new Event('change')); })()"
    )


@in_browser
def test_a_server_with_keys_is_given_one(browser: Browser) -> None:
    with ChatServer(lambda _: answer_events("Hello"), key="secret") as server:
        browser.open(server.url)
        browser.wait("document.querySelector('#key').open")
        browser.click("#key-field")
        browser.type("secret")
        browser.press("Enter")
        browser.wait("document.querySelector('#model option')")
        say(browser, "Hi")
        assert texts(browser, "article .text") == ["Hello"]
        assert browser.run("localStorage.getItem('llamacli-key')") is None


@in_browser
def test_errors_and_loading_are_told(browser: Browser) -> None:
    with ChatServer(lambda _: answer_events("Hello")) as server:
        server.loading, server.error = 1, (429, "the queue is full")
        browser.open(server.url)
        browser.wait("document.querySelector('#state').innerText === 'Loading 50 %'")
        browser.wait("document.querySelector('#model option')")
        say(browser, "Hi")
        assert browser.run("document.querySelector('#problem').innerText") == "the queue is full"
        assert texts(browser, "article .body") == ["Hi"]


def failing(*parts: str) -> Iterator[AnswerEvent]:
    yield from itertools.islice(answer_events(*parts), 1 + len(parts))
    raise DecodeError("the memory is gone")


@in_browser
def test_an_error_in_the_middle_is_told_and_what_there_is_stays(browser: Browser, server: ChatServer) -> None:
    server.answers = lambda _: failing("half an", " answer")
    say(browser, "Hi")
    assert browser.run("document.querySelector('#problem').innerText") == "the memory is gone"
    assert texts(browser, "article .body") == ["Hi", "half an answer"]
    assert "failed" in texts(browser, ".speed")[0]


@in_browser
def test_the_progress_of_a_prompt_is_told(browser: Browser, server: ChatServer) -> None:
    server.pause = 0.3
    server.answers = lambda _: itertools.chain([Prefill(0, 1, 4)], answer_events("Hello"))
    browser.click("#input")
    browser.type("Hi")
    browser.press("Enter")
    browser.wait("document.querySelector('#state').innerText === 'Reading the prompt: 1 of 4 tokens'")
    finished(browser)
    assert browser.run("document.querySelector('#state').innerText") == ""
    assert server.asked[-1]["return_progress"] is True


@in_browser
def test_the_policy_holds_against_whatever_a_script_would_do(browser: Browser, server: ChatServer) -> None:
    refused = """new Promise((resolve) => { document.addEventListener('securitypolicyviolation',
      (event) => resolve(event.effectiveDirective), {once: true}); %s; })"""
    image = "document.body.append(Object.assign(new Image(), {src: 'http://127.0.0.1:1/x.png', id: 'probe'}))"
    assert browser.run(refused % image) == "img-src"
    assert browser.run(refused % "fetch('http://127.0.0.1:1/').catch(() => {})") == "connect-src"
    assert browser.run(refused % "document.body.setAttribute('style', 'color: red')") == "style-src-attr"
    with pytest.raises(AssertionError, match="TrustedHTML"):
        browser.run("document.body.innerHTML = '<b>x</b>'")
    assert browser.run("document.querySelector('#compose') !== null")
    browser.problems.clear()
    browser.requests = [url for url in browser.requests if "127.0.0.1:1/" not in url]


@in_browser
def test_dark_light_and_a_phone(browser: Browser, server: ChatServer) -> None:
    back = "getComputedStyle(document.body).backgroundColor"
    browser.colours("dark")
    browser.wait(f"{back} === 'rgb(25, 26, 27)'")
    browser.colours("light")
    browser.wait(f"{back} === 'rgb(255, 255, 255)'")
    browser.click("#theme")
    browser.wait(f"{back} === 'rgb(25, 26, 27)'")
    browser.run("localStorage.removeItem('llamacli-theme')")
    browser.resize(360, 640, mobile=True)
    try:
        say(browser, "Hi " + "long" * 60)
        assert browser.run("document.documentElement.scrollWidth <= 360")
        browser.click("#menu")
        browser.wait("document.querySelector('#side').getBoundingClientRect().left >= 0")
        browser.click("#list .open")
        browser.wait("document.querySelector('#side').getBoundingClientRect().right <= 0")
    finally:
        browser.call("Emulation.clearDeviceMetricsOverride")


# --- from the real server -------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def live(tiny_model: Path) -> Iterator[LiveServer]:
    with serving(spec_of(tiny_model)) as live:
        yield live


def test_the_server_sends_the_page(live: LiveServer) -> None:
    reply = live.get("/")
    page = load_page()
    assert (reply.status, reply.body) == (200, page.body)
    assert page.headers.items() <= reply.headers.items()


@in_browser
def test_the_page_talks_to_the_server(browser: Browser, live: LiveServer) -> None:
    browser.problems.clear()
    browser.requests.clear()
    browser.open(live.base + "/")
    browser.wait("document.querySelector('#model option')")
    browser.press("s", alt=True)
    browser.run("document.querySelector('#set-max_tokens').value = '8'")
    browser.run("document.querySelector('#set-temperature').value = '0'")
    press_button(browser, "Save", "#settings")
    say(browser, "Hello")
    assert "8 tokens" in texts(browser, ".speed")[0]
    press_button(browser, "Tokens")
    pieces = texts(browser, ".body > .pieces button")
    assert 2 < len(pieces) <= 8  # control tokens have no text
    browser.click(".body > .pieces button:nth-child(2)")
    browser.press("ArrowDown")
    browser.wait("document.activeElement.closest('#choices')")
    other = browser.run("document.activeElement.querySelector('.piece').innerText")
    browser.press("Enter")
    finished(browser)
    browser.wait("document.querySelector('.branch')?.innerText === '2/2'")
    again = texts(browser, ".body > .pieces button")
    assert again[0] == pieces[0]
    assert again[1].strip() == other.replace("␣", " ").strip() != pieces[1]
    assert 2 < len(again) <= 2 + 8
    assert browser.problems == []
    assert browser.requests.count(live.base + "/v1/chat/completions") == 2


@in_browser
def test_the_page_of_a_server_with_keys_is_opened_with_one(browser: Browser, tiny_model: Path) -> None:
    keys = (ApiKey(name="me", digest=digest_of("sk-mine")),)
    with serving(spec_of(tiny_model), keys=keys) as live:
        assert live.get("/").status == 401
        browser.open(f"http://me:sk-mine@127.0.0.1:{live.port}/")
        browser.wait("document.querySelector('#model option')")
        assert not browser.run("document.querySelector('#key').open")
