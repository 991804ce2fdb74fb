"""TLS: the system's certificates, or those of SSL_CERT_FILE; through a proxy, which sees no key."""

from __future__ import annotations

import contextlib
import socket
import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from certificates import encrypted, make_certificate
from fakes import invoke
from odd_server import Script, answered, odd_server


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file with a certificate of this machine, signed by itself, and its key."""
    return make_certificate(tmp_path_factory.mktemp("tls"))


@contextmanager
def connect_proxy(target: str) -> Iterator[tuple[str, list[bytes]]]:
    """A proxy that leads each CONNECT to `target`, host:port; what it saw."""
    seen: list[bytes] = []

    class Handler(socketserver.StreamRequestHandler):
        rbufsize = 0

        def handle(self) -> None:
            while (line := self.rfile.readline()).strip():
                seen.append(line)
            host, _, port = target.rpartition(":")
            with socket.create_connection((host, int(port))) as there:
                self.wfile.write(b"HTTP/1.1 200 Connected\r\n\r\n")
                back = threading.Thread(target=copy, args=(there, self.connection))
                back.start()
                copy(self.connection, there)
                back.join()

    server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}", seen
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def copy(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(1 << 16):
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)


def test_a_certificate_of_a_file_is_trusted(certificate: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    with odd_server(Script([answered("Hi.")]), tls=encrypted(certificate)) as address:
        done = invoke("run", "--url", address, "hello", environ={"LLAMACLI_API_KEY": "k"})
    assert (done.status, done.stdout) == (0, "Hi.\n"), done.stderr


def test_an_unknown_certificate_ends_before_the_key_is_sent(certificate: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SSL_CERT_FILE", raising=False)
    script = Script([answered("Hi.")])
    with odd_server(script, tls=encrypted(certificate)) as address:
        done = invoke("run", "--url", address, "hello", environ={"LLAMACLI_API_KEY": "topsecret"})
    assert (done.status, done.stdout) == (7, "")
    assert f"cannot trust {address}: self-signed certificate (SSL_CERT_FILE names" in done.stderr
    assert "topsecret" not in done.stderr
    assert not script.asked


def test_a_proxy_leads_to_an_encrypted_server(certificate: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    monkeypatch.setattr("llamacli.backend.remote.address.Address.is_local", False)  # a proxy is for others
    with odd_server(Script([answered("Hi.")]), tls=encrypted(certificate)) as address:
        target = address.rpartition("/")[2]
        with connect_proxy(target) as (proxy, seen):
            environ = {"HTTPS_PROXY": proxy.replace("//", "//ann:pass%20word@"), "LLAMACLI_API_KEY": "topsecret"}
            done = invoke("run", "--url", address, "hello", environ=environ)
    assert (done.status, done.stdout) == (0, "Hi.\n"), done.stderr
    assert seen[0].startswith(f"CONNECT {target} ".encode())
    assert any(line.lower().startswith(b"proxy-authorization: basic ") for line in seen)
    assert b"topsecret" not in b"".join(seen)
