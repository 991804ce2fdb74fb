"""Where requests come from, who sends them, and how often."""

from __future__ import annotations

import base64
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest
from serving import LiveServer, serving, spec_of, wait_for

from llamacli.errors import SettingsError, UsageError
from llamacli.server.security.clients import Clients
from llamacli.server.security.origin import OriginRules, host_name, is_loopback
from llamacli.server.security.rate_limit import Allowance, Bucket, Rate, format_seconds, parse_rate_limit
from llamacli.store.api_keys import ApiKey, add_key, digest_of, read_keys, remove_key

SECRET = "sk-a-long-secret"


@pytest.fixture(scope="module")
def open_server(tiny_model: Path) -> Iterator[LiveServer]:
    origin = OriginRules(hosts=("models.example",), origins=("https://app.example",))
    with serving(spec_of(tiny_model), origin=origin) as live:
        yield live


@pytest.fixture(scope="module")
def keyed_server(tiny_model: Path) -> Iterator[LiveServer]:
    keys = (
        ApiKey(name="laptop", digest=digest_of(SECRET)),
        ApiKey(name="slow", digest=digest_of("sk-slow-secret"), limit="2/h,10tok/h"),
    )
    with serving(spec_of(tiny_model), keys=keys, clock=lambda: 0.0) as live:
        yield live


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("localhost:8080", 200), ("127.0.0.1", 200), ("[::1]:80", 200), ("a.localhost", 200), ("MODELS.example:1", 200),
        ("evil.example", 403), ("127.0.0.1.evil.example", 403), ("localhost.evil.example", 403), ("", 403),
    ],
)  # fmt: skip
def test_only_names_of_this_machine_are_hosts(open_server: LiveServer, host: str, status: int) -> None:
    assert open_server.get("/v1/models", headers={"Host": host}).status == status


@pytest.mark.parametrize(
    ("origin", "status", "readable"),
    [
        ("http://evil.example", 403, False),
        ("null", 403, False),
        ("https://app.example", 200, True),
        ("http://app.example", 403, False),
        ("http://localhost:9", 200, False),
        ("http://localhost:10", 403, False),
    ],
)
def test_only_own_and_allowed_pages_may_ask(open_server: LiveServer, origin: str, status: int, readable: bool) -> None:
    reply = open_server.get("/v1/models", headers={"Host": "localhost:9", "Origin": origin})
    assert reply.status == status
    assert (reply.headers.get("access-control-allow-origin") == origin) == readable
    assert "access-control-allow-credentials" not in reply.headers


def test_a_browser_may_ask_before_it_asks(open_server: LiveServer) -> None:
    headers = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "x-a"}
    reply = open_server.request("OPTIONS", "/v1/models", headers={**headers, "Origin": "https://app.example"})
    assert reply.status == 204
    assert reply.headers["access-control-allow-headers"] == "x-a"
    assert open_server.request("OPTIONS", "/v1/models", headers={**headers, "Origin": "https://x.example"}).status == 403


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 401),
        ({"Authorization": f"Bearer {SECRET}"}, 200),
        ({"Authorization": f"bearer  {SECRET}"}, 200),
        ({"Authorization": "Bearer sk-wrong"}, 401),
        ({"Authorization": "Bearer "}, 401),
        ({"Authorization": SECRET}, 401),
        ({"x-api-key": SECRET}, 200),
        ({"api-key": SECRET}, 200),
        ({"Authorization": "Basic " + base64.b64encode(f"me:{SECRET}".encode()).decode()}, 200),
        ({"Authorization": "Basic ???"}, 401),
    ],
)
def test_every_route_but_health_needs_a_key(keyed_server: LiveServer, headers: dict[str, str], status: int) -> None:
    assert keyed_server.get("/v1/models", headers=headers).status == status
    for path in ("/metrics", "/props", "/nothing", "/v1/chat/completions"):
        assert (keyed_server.get(path, headers=headers).status == 401) == (status == 401)
    assert keyed_server.get("/health", headers=headers).status == 200


def test_a_refusal_says_what_is_missing(keyed_server: LiveServer) -> None:
    reply = keyed_server.get("/v1/models")
    assert reply.error["code"] == "invalid_api_key"
    assert reply.headers["www-authenticate"].startswith("Bearer")


def test_a_key_has_its_own_limits(keyed_server: LiveServer) -> None:
    headers = {"Authorization": "Bearer sk-slow-secret"}
    first = keyed_server.post("/v1/completions", {"prompt": "Hello", "max_tokens": 30}, headers=headers)
    assert first.status == 200
    assert first.headers["x-ratelimit-limit-requests"] == "2"
    assert first.headers["x-ratelimit-remaining-requests"] == "1"
    second = keyed_server.post("/v1/completions", {"prompt": "Hello", "max_tokens": 1}, headers=headers)
    assert second.status == 429
    assert second.error["code"] == "rate_limit_exceeded"
    assert "tokens" in second.error["message"]
    spent = first.json()["usage"]["total_tokens"]
    assert spent > 10
    seconds = (spent - 10 + 1) * 360  # 10 tokens an hour: until there is one again
    assert seconds <= int(second.headers["retry-after"]) <= seconds + 1
    assert second.headers["x-ratelimit-remaining-tokens"] == "0"
    wait_for(lambda: 429 in [record.status for record in keyed_server.records])
    assert keyed_server.records[-1].client == "slow"


def test_a_bucket_fills_with_time() -> None:
    now = [0.0]
    bucket = Bucket(Rate(10, 5.0), lambda: now[0])
    bucket.take(13)
    assert bucket.wait() == pytest.approx(2.0)
    now[0] = 2.0
    assert bucket.wait() == pytest.approx(0.0)
    now[0] = 100.0
    assert bucket.level == 10
    assert bucket.reset == 0


def test_an_allowance_counts_only_what_it_admits() -> None:
    now = [0.0]
    allowance = Allowance(parse_rate_limit("2/min"), lambda: now[0])
    assert [allowance.admit()[0] for _ in range(4)] == [0, 0, pytest.approx(30), pytest.approx(30)]
    now[0] = 30.0
    assert allowance.admit()[0] == 0


@pytest.mark.parametrize("text", ["", "60", "60/year", "x/min", "0/min", "1/min,2/min", "1tok/min,1tok/s", "-1/min"])
def test_limits_that_are_none_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="limit"):
        parse_rate_limit(text)


@pytest.mark.parametrize(("seconds", "text"), [(0.0123, "12ms"), (3.5, "3.5s"), (60, "1m0s"), (365, "6m5s")])
def test_durations_are_written_as_openai_does(seconds: float, text: str) -> None:
    assert format_seconds(seconds) == text


@pytest.mark.parametrize(("host", "name"), [("LocalHost:1", "localhost"), ("[::1]:80", "::1"), ("a.b.", "a.b")])
def test_a_host_has_a_name(host: str, name: str) -> None:
    assert host_name(host) == name


def test_loopback_is_this_machine_alone() -> None:
    assert all(is_loopback(name) for name in ("localhost", "127.9.9.9", "::1"))
    assert not any(is_loopback(name) for name in ("0.0.0.0", "10.0.0.1", "example.org", "127.0.0.1.nip.io"))


def test_keys_are_kept_as_hashes(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "keys.json"
    secret = add_key(path, "a", limit="1/s")
    add_key(path, "b")
    assert secret not in path.read_text()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [(key.name, key.limit) for key in read_keys(path)] == [("a", "1/s"), ("b", None)]
    assert read_keys(path)[0].digest == digest_of(secret)
    with pytest.raises(UsageError, match="already"):
        add_key(path, "a")
    remove_key(path, "a")
    assert [key.name for key in read_keys(path)] == ["b"]
    with pytest.raises(UsageError, match="no key"):
        remove_key(path, "a")


@pytest.mark.parametrize("text", ["{}", "[]", '{"keys": [1]}', '{"keys": [{"name": "a", "sha256": "x"}]}', "{", ""])
def test_a_file_that_has_no_keys_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "keys.json"
    path.write_text(text)
    with pytest.raises(SettingsError, match=r"keys\.json"):
        read_keys(path)


def test_another_limit_of_all_counts_anew() -> None:
    clients = Clients((), parse_rate_limit("1/h"), lambda: 0.0)
    anybody = clients.find({"headers": []})
    assert anybody is not None
    assert anybody.allowance is not None
    assert [anybody.allowance.admit()[0] > 0 for _ in range(2)] == [False, True]
    for limit, refused in (("1/h", True), ("2/h", False), (None, None)):
        clients.replace((), parse_rate_limit(limit) if limit else None)
        anybody = clients.find({"headers": []})
        assert anybody is not None
        found = None if anybody.allowance is None else anybody.allowance.admit()[0] > 0
        assert found == refused


def test_other_keys_may_be_taken_while_the_server_runs() -> None:
    clients = Clients((ApiKey(name="a", digest=digest_of("one"), limit="5/h"),), None)
    scope = {"headers": [(b"x-api-key", b"one")]}
    client = clients.find(scope)
    assert client is not None
    assert client.allowance is not None
    client.allowance.admit()
    clients.replace((ApiKey(name="a", digest=digest_of("two"), limit="5/h"),), None)
    assert clients.find(scope) is None
    again = clients.find({"headers": [(b"x-api-key", b"two")]})
    assert again is not None
    assert again.allowance is client.allowance
    with pytest.raises(SettingsError, match="the key a"):
        clients.replace((ApiKey(name="a", digest=digest_of("two"), limit="x"),), None)
