"""The parts of the remote backend that need no server: addresses, keys, events of streams, pauses, fields."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from llamacli.backend.remote.access import proxy_for, read_key
from llamacli.backend.remote.address import parse_address
from llamacli.backend.remote.fields import RefusedFields
from llamacli.backend.remote.problem import error_of, read_refusal
from llamacli.backend.remote.retry import pause, should_retry
from llamacli.backend.remote.secret import Secret
from llamacli.backend.remote.sse import MOST_BYTES, read_event_groups, read_events
from llamacli.backend.remote.transport import Access, _Connection, check_access
from llamacli.engine.params import SamplingParams
from llamacli.errors import ContextFullError, GrammarError, ModelNotFoundError, RemoteError, UsageError
from llamacli.openai.client.request import Draft, add_generation, unchosen


@pytest.mark.parametrize(
    ("text", "shown", "api", "root"),
    [
        ("http://localhost:8080", "http://localhost:8080", "/v1", ""),
        ("http://localhost:8080/", "http://localhost:8080", "/v1", ""),
        ("https://api.example.com/v1", "https://api.example.com", "/v1", ""),
        ("https://example.com/llm/v1/", "https://example.com/llm", "/llm/v1", "/llm"),
        ("https://example.com/llm", "https://example.com/llm", "/llm/v1", "/llm"),
        ("http://[::1]:80", "http://[::1]", "/v1", ""),
        ("unix:///run/llamacli.sock", "unix:///run/llamacli.sock", "/v1", ""),
    ],
)
def test_an_address_has_the_path_of_the_api(text: str, shown: str, api: str, root: str) -> None:
    address = parse_address(text)
    assert (str(address), address.api, address.root) == (shown, api, root)


@pytest.mark.parametrize(
    "text",
    ["", "localhost:8080", "ftp://host", "http://", "http://host:99999", "http://host/?q=1", "http://host/#a", "unix://",
     "http://a b", "http://[::1", "http://user:geheim@host", "http://host/\r\nX: y", "unix://host/path"],
)  # fmt: skip
def test_a_wrong_address_is_one_clear_line(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_address(text)
    assert "\n" not in str(caught.value)
    assert "geheim" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "local"),
    [("http://127.9.1.1:1", True), ("http://localhost", True), ("http://[::1]:1", True), ("unix:///a", True),
     ("http://10.0.0.1", False), ("http://localhost.example.com", False)],
)  # fmt: skip
def test_only_loopback_is_local(text: str, local: bool) -> None:
    assert parse_address(text).is_local is local


def test_the_head_of_a_request_is_sent_with_its_body() -> None:
    sent: list[bytes] = []
    connection = _Connection("localhost")
    connection.sock = SimpleNamespace(sendall=sent.append, close=lambda: None)  # type: ignore[assignment]
    connection.request("POST", "/v1/completions", b"{}", {"Host": "localhost"})
    (whole,) = sent
    assert whole.startswith(b"POST /v1/completions HTTP/1.1\r\n")
    assert whole.endswith(b"\r\n\r\n{}")


def test_a_key_is_never_shown_and_never_travels_in_the_clear() -> None:
    secret = Secret("sk-123\n", "a file")
    assert "sk-123" not in repr(secret)
    assert "sk-123" not in str({"key": secret})
    assert secret.header() == "Bearer sk-123"
    access = Access(secret=secret)
    with pytest.raises(UsageError, match="unencrypted"):
        check_access(parse_address("http://10.0.0.1"), access, insecure=False)
    check_access(parse_address("http://10.0.0.1"), access, insecure=True)
    for address in ("http://127.0.0.1:1", "https://10.0.0.1", "unix:///a"):
        check_access(parse_address(address), access, insecure=False)


@pytest.mark.parametrize("value", ["", " \n", "two words", "schlüssel", "a\r\nX-Evil: 1"])
def test_a_key_that_no_header_can_carry_is_refused_unseen(value: str) -> None:
    with pytest.raises(UsageError) as caught:
        Secret(value, "env:KEY")
    assert not value.strip() or value not in str(caught.value)


def test_keys_come_from_where_they_are_kept(tmp_path) -> None:
    (tmp_path / "key").write_text("from-file\n")
    environ = {"LLAMACLI_API_KEY": "from-default", "MINE": "from-mine"}
    found = {reference: read_key(reference, environ) for reference in (None, "env:MINE", f"file:{tmp_path / 'key'}")}
    assert [one.header() for one in found.values() if one] == ["Bearer from-default", "Bearer from-mine", "Bearer from-file"]
    assert read_key(None, {}) is None
    for reference in ("env:NONE", f"file:{tmp_path / 'none'}"):
        with pytest.raises(UsageError):
            read_key(reference, environ)


@pytest.mark.parametrize(
    ("environ", "address", "proxy"),
    [
        ({}, "https://a.example", None),
        ({"HTTPS_PROXY": "http://proxy:3128"}, "https://a.example", "http://proxy:3128"),
        ({"https_proxy": "proxy:3128"}, "https://a.example", "http://proxy:3128"),
        ({"HTTPS_PROXY": "http://proxy:3128"}, "http://a.example", None),
        ({"ALL_PROXY": "http://proxy:3128"}, "http://a.example", "http://proxy:3128"),
        ({"HTTP_PROXY": "http://proxy:3128"}, "http://127.0.0.1:1", None),
        ({"HTTPS_PROXY": "http://proxy:3128", "NO_PROXY": ".example"}, "https://a.example", None),
        ({"HTTPS_PROXY": "http://proxy:3128", "NO_PROXY": "ample"}, "https://a.example", "http://proxy:3128"),
        ({"HTTPS_PROXY": "http://proxy:3128", "no_proxy": "b, *"}, "https://a.example", None),
    ],
)
def test_proxies_are_those_of_the_environment(environ: dict[str, str], address: str, proxy: str | None) -> None:
    assert proxy_for(parse_address(address), environ) == proxy


STREAM = b": ping\n\ndata: one\n\nevent: x\nid: 7\ndata: two\ndata: lines\n\n\n: more\ndata:three\n\ndata: last"


@pytest.mark.parametrize("ending", [b"\n", b"\r\n", b"\r"])
@pytest.mark.parametrize("size", [1, 2, 3, 7, 1000])
def test_events_are_the_same_in_any_portions(ending: bytes, size: int) -> None:
    stream = b"\xef\xbb\xbf" * (size > 2) + STREAM.replace(b"\n", ending)
    portions = [stream[at : at + size] for at in range(0, len(stream), size)]
    assert list(read_events(portions)) == ["one", "two\nlines", "three", "last"]


def test_events_of_one_portion_come_together_and_before_an_error() -> None:
    groups = read_event_groups([b"data: one\n\ndata: two\n\ndata: th", b"ree\n\n", b": ping\n\n", b"data: 4\n\ndata: \xff\n\n"])
    assert [next(groups) for _ in range(3)] == [["one", "two"], ["three"], ["4"]]
    with pytest.raises(RemoteError, match="UTF-8"):
        next(groups)


def test_events_without_end_are_bounded() -> None:
    with pytest.raises(RemoteError, match="16 MiB"):
        list(read_events(b"x" * (1 << 20) for _ in range(1000)))
    with pytest.raises(RemoteError, match="16 MiB"):
        list(read_events(b"data: " + b"x" * (1 << 20) + b"\n" for _ in range(MOST_BYTES >> 19)))
    with pytest.raises(RemoteError, match="UTF-8"):
        list(read_events([b"data: \xff\n\n"]))


@pytest.mark.parametrize(
    ("headers", "low", "high"),
    [
        ({"retry-after": "3"}, 3, 3),
        ({"retry-after-ms": "250", "retry-after": "3"}, 0.25, 0.25),
        ({"retry-after": "100000"}, 0.375, 0.5),
        ({"retry-after": "-1"}, 0.375, 0.5),
        ({"retry-after": "Wed, 21 Oct 2015 07:28:00 GMT"}, 0, 0),
        ({"retry-after": "soon"}, 0.375, 0.5),
        ({}, 0.375, 0.5),
    ],
)
def test_a_pause_is_what_the_server_asks_for(headers: dict[str, str], low: float, high: float) -> None:
    assert low <= pause(0, headers) <= high
    assert not headers or pause(9, {}) <= 8


@pytest.mark.parametrize(
    ("status", "headers", "again"),
    [(408, {}, True), (409, {}, True), (429, {}, True), (500, {}, True), (503, {}, True), (400, {}, False), (404, {}, False),
     (500, {"x-should-retry": "false"}, False), (400, {"x-should-retry": "true"}, True)],
)  # fmt: skip
def test_what_may_pass_is_tried_again(status: int, headers: dict[str, str], again: bool) -> None:
    assert should_retry(status, headers) is again


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (400, b'{"error": {"message": "bad", "code": "context_length_exceeded"}}', ContextFullError),
        (400, b'{"error": {"message": "bad", "code": "invalid_grammar"}}', GrammarError),
        (400, b'{"error": "bad"}', UsageError),
        (422, b'{"detail": "bad"}', UsageError),
        (401, b"", UsageError),
        (404, b"<html>", ModelNotFoundError),
        (500, b"\xff\x00", RemoteError),
        (429, b'{"error": {"message": 7, "code": 8, "param": []}}', RemoteError),
    ],
)
def test_a_refusal_of_any_shape_is_one_line(status: int, body: bytes, kind: type[Exception]) -> None:
    error = error_of(read_refusal(status, body), "http://host")
    assert isinstance(error, kind)
    assert "http://host" in str(error)
    assert "\n" not in str(error)


def test_a_refused_field_is_left_out_from_then_on() -> None:
    fields = RefusedFields("http://test", "m")
    body = {"model": "m", "max_tokens": 5, "seed": 1, "stream_options": {}}
    assert not fields.learn(read_refusal(400, b'{"error": {"message": "seed must be positive", "param": "seed"}}'), body)
    assert fields.learn(read_refusal(400, b'{"error": {"message": "Unknown field", "param": "seed"}}'), body)
    assert fields.learn(read_refusal(400, b'{"error": {"message": "Unsupported parameter: max_tokens"}}'), body)
    assert fields.learn(read_refusal(422, b'{"detail": "extra inputs are not permitted: stream_options"}'), body)
    assert fields.fitting(body) == {"model": "m", "max_completion_tokens": 5}
    assert fields.missing(body) == ["seed"]
    assert RefusedFields("http://test", "m").missing(body) == ["seed"]
    assert RefusedFields("http://test", "other").missing(body) == []
    assert not fields.learn(read_refusal(400, b'{"error": {"message": "unknown model"}}'), body)


def test_only_what_was_chosen_is_sent() -> None:
    from dataclasses import replace

    from llamacli.engine.params import GenerationParams

    base = unchosen(SamplingParams())
    draft = Draft(extended=True)
    add_generation(draft, GenerationParams(sampling=base), is_chat=True)
    assert draft.body == {}
    chosen = replace(base, temperature=0.8, top_k=40, seed=3)  # as our own defaults, but chosen
    add_generation(draft, GenerationParams(sampling=chosen), is_chat=True)
    assert draft.body == {"temperature": 0.8, "top_k": 40, "seed": 3}
    plain = Draft(extended=False)
    add_generation(plain, GenerationParams(sampling=chosen), is_chat=True)
    assert plain.body == {"temperature": 0.8, "seed": 3}
    assert plain.lacks == ["top_k"]
