"""Web pages: limits of size, time and redirects, and the networks that are not reached."""

from __future__ import annotations

import ipaddress
import re
import socket

import pytest

from llamacli.cli.framework.inputs.documents import is_address
from llamacli.documents import web
from llamacli.documents.web import Page, fetch, is_public
from llamacli.errors import CapacityError, FetchError, LlamacliError, UsageError
from tests.support.certificates import encrypted, make_certificate
from tests.support.page_server import response, server


def test_a_page_and_its_type():
    with server(response(b"hello", "text/html; charset=utf-8")) as (address, seen):
        assert fetch(f"{address}/a b?q=ü#part", allows_private=True) == Page(b"hello", "text/html; charset=utf-8")
    assert seen[0].startswith(b"GET /a%20b?q=%C3%BC HTTP/1.1\r\nHost: 127.0.0.1:")
    assert b"Accept-Encoding: identity" in seen[0]


def test_the_certificate_is_verified(tmp_path, monkeypatch):
    certificate = make_certificate(tmp_path)
    refused = pytest.raises(FetchError, match=r"cannot fetch from 127\.0\.0\.1: self.signed certificate")
    with server(response(b"hello"), tls=encrypted(certificate)) as (address, _), refused:
        fetch(address, allows_private=True)
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    with server(response(b"hello"), tls=encrypted(certificate)) as (address, seen):
        assert fetch(address, allows_private=True).data == b"hello"
    assert seen[0].startswith(b"GET / HTTP/1.1")


def test_a_redirect_never_gives_tls_up(tmp_path, monkeypatch):
    certificate = make_certificate(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    moved = response(b"", status="302 Found", Location="http://127.0.0.1/")
    with server(moved, tls=encrypted(certificate)) as (address, _), pytest.raises(UsageError, match="which is not https"):
        fetch(address, allows_private=True)


def test_redirects_are_followed_on_the_same_host():
    moved = response(b"", status="302 Found", Location="/there")
    with server(moved, response(b"hello")) as (address, seen):
        assert fetch(address, allows_private=True).data == b"hello"
    assert seen[1].startswith(b"GET /there ")


@pytest.mark.parametrize(
    ("responses", "kind", "says"),
    [
        ([response(b"", status="404 Not Found")], FetchError, "the server responded 404 Not Found"),
        ([response(b"x" * 200)], CapacityError, "is larger than 0 MiB"),
        ([response(b"hello", Content_Encoding="gzip")], FetchError, "a compressed response, which was not requested"),
        ([response(b"hello")[:-2]], FetchError, "cannot fetch from 127.0.0.1: the connection was lost after 3 bytes"),
        ([b"what?\r\n\r\n"], FetchError, "cannot fetch from 127.0.0.1: "),
        ([response(b"", status="301 Moved", Location="/a")] * 6, FetchError, "redirects more than 5 times"),
        ([response(b"", status="301 Moved", Location="http://localhost/")], UsageError, "http://localhost/ is not an https://"),
        ([response(b"", status="301 Moved", Location="https://127.0.0.2/")], UsageError, "127.0.0.2 is in a private network"),
        ([response(b"", status="301 Moved", Location="file:///etc/passwd")], UsageError, "file:///etc/passwd is not a web"),
    ],
)
def test_what_a_server_must_not_do(responses, kind, says, monkeypatch):
    monkeypatch.setattr(web, "MAX_INPUT_BYTES", 100)
    with server(*responses) as (address, _), pytest.raises(kind, match=re.escape(says)):
        fetch(address, allows_private=True)


def test_a_server_that_never_ends_is_left(monkeypatch):
    monkeypatch.setattr(web, "MAX_SECONDS", 0.3)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = f"http://127.0.0.1:{listener.getsockname()[1]}"
        with pytest.raises(FetchError, match="took longer than 0 s to send the page"):
            fetch(address, allows_private=True)


@pytest.mark.parametrize(
    ("address", "says"),
    [
        ("https://127.0.0.1/x", "127.0.0.1 is in a private network (--private-addresses reads"),
        ("https://2130706433/", "2130706433 (127.0.0.1) is in a private network"),
        ("https://[::1]/", "::1 is in a private network"),
        ("https://[::ffff:10.0.0.1]/", "is in a private network"),
        ("https://169.254.169.254/latest/meta-data", "169.254.169.254 is in a private network"),
        ("http://127.0.0.1/x", "http://127.0.0.1/x is not an https:// address"),
        ("https://user:secret@host/", "the web address has a user name, which is not sent"),
        ("https://host:99999/", "is not a web address"),
        ("https:///x", "https:///x is not a web address"),
        ("https://a..b/", "the host's name is invalid"),
    ],
)
def test_addresses_that_are_not_read(address, says):
    with pytest.raises(UsageError, match=re.escape(says)) as caught:
        fetch(address)
    assert "secret" not in str(caught.value)


def test_what_was_checked_is_what_is_connected_to(monkeypatch):
    """A name that leads to a private address only when it is resolved again."""
    answers = iter([[(socket.AF_INET, ("8.8.8.8", 443))], [(socket.AF_INET, ("127.0.0.1", 443))]])
    monkeypatch.setattr(web, "resolve", lambda _host, _port: next(answers))
    connected = []

    class Socket(socket.socket):
        def connect(self, address):
            connected.append(address)
            raise ConnectionRefusedError(111, "refused")

    monkeypatch.setattr(web.socket, "socket", Socket)
    with pytest.raises(FetchError, match=r"cannot fetch from rebind\.example: refused"):
        fetch("https://rebind.example/")
    assert connected == [("8.8.8.8", 443)]


def test_one_private_address_among_others_is_refused(monkeypatch):
    found = [(socket.AF_INET, ("8.8.8.8", 443)), (socket.AF_INET6, ("fe80::1%2", 443, 0, 2))]
    monkeypatch.setattr(web, "resolve", lambda _host, _port: found)
    with pytest.raises(UsageError, match=re.escape("mixed.example (fe80::1%2) is in a private network")):
        fetch("https://mixed.example/")


def test_without_tls_only_private_networks_are_reached(monkeypatch):
    monkeypatch.setattr(web, "resolve", lambda _host, _port: [(socket.AF_INET, ("8.8.8.8", 80))])
    with pytest.raises(UsageError, match="is in a public network, where only https://"):
        fetch("http://intranet/", allows_private=True)


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_through_a_proxy_numbers_are_checked(host):
    url = f"https://[{host}]/" if ":" in host else f"https://{host}/"
    with pytest.raises(UsageError, match="is in a private network"):
        fetch(url, proxies=lambda _: "http://127.0.0.1:1")


def test_a_proxy_is_asked_by_name():
    with server(b"HTTP/1.1 403 Forbidden\r\n\r\n") as (proxy, seen), pytest.raises(FetchError, match="Forbidden"):
        fetch("https://name.example/x", proxies=lambda _: proxy.replace("//", "//me:pass@"))
    assert seen[0].startswith(b"CONNECT name.example:443 HTTP/1.")
    assert b"Proxy-Authorization: Basic bWU6cGFzcw==" in seen[0]


@pytest.mark.parametrize(
    ("address", "public"),
    [
        ("8.8.8.8", True), ("2600::1", True), ("10.1.2.3", False), ("100.64.0.1", False), ("0.0.0.0", False),
        ("224.0.0.1", False), ("fd00::1", False), ("::ffff:8.8.8.8", True), ("::ffff:127.0.0.1", False),
        ("64:ff9b::7f00:1", False), ("64:ff9b::808:808", True), ("2002:7f00:1::", False), ("ff02::1", False),
    ],
)  # fmt: skip
def test_public_addresses(address, public):
    assert is_public(ipaddress.ip_address(address)) == public


def test_words_that_are_addresses():
    assert [is_address(word) for word in ("https://x", "HTTP://x", "ftp://x", "x/https://y", "https:/x")] == [
        True, True, False, False, False,
    ]  # fmt: skip
    assert issubclass(FetchError, LlamacliError)
