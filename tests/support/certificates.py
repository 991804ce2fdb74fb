"""Certificates of this machine, signed by themselves, for servers of the tests."""

from __future__ import annotations

import ssl
import subprocess
from pathlib import Path

import pytest

OPENSSL = (
    "openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
    "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1",
)  # fmt: skip


def make_certificate(folder: Path) -> Path:
    """Return a file with a certificate and its key; skip the test if there is no openssl."""
    key, own = folder / "key.pem", folder / "own.pem"
    try:
        subprocess.run([*OPENSSL, "-keyout", key, "-out", own], check=True, capture_output=True)
    except (FileNotFoundError, subprocess.CalledProcessError):
        pytest.skip("openssl makes no certificate here")
    both = folder / "both.pem"
    both.write_bytes(key.read_bytes() + own.read_bytes())
    return both


def encrypted(certificate: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    return context
