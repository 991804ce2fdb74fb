"""Draw the README's screenshots: the output of the program on a terminal, as SVG, and the page of `serve`, as PNG.

python tests/support/screenshots.py        writes man/screenshots/*; needs the demo model, and a browser for the page
"""

from __future__ import annotations

import fcntl
import io
import os
import pty
import struct
import sys
import tempfile
import termios
from pathlib import Path

from rich.console import Console
from rich.text import Text

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "man" / "screenshots"
WIDTH, HEIGHT = 100, 60
HOME = "/home/ada"
"""The home directory that the pictures show."""

SCREENSHOTS = {
    "info": ["llamacli info"],
    "tokenize": [
        'llamacli tokenize "Grüße! Tokenization isn\'t obvious: 3.14159 🦙"',
        "llamacli tokenize --count LICENSE -f pyproject.toml",
    ],
}
"""The command lines of each picture."""


def main() -> int:
    """Run the command lines and write the pictures."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    for name, lines in SCREENSHOTS.items():
        screen = Console(record=True, width=WIDTH, file=io.StringIO())
        for line in lines:
            screen.print(Text(f"$ {line}", style="bold"))
            screen.print(Text.from_ansi(shown(line)))
        (FOLDER / f"{name}.svg").write_text(screen.export_svg(title="llamacli", unique_id=name), encoding="utf-8")
    (FOLDER / "page.png").write_bytes(page())
    return 0


def page() -> bytes:
    """Let the demo model answer on the page, and show the probabilities of a token."""
    from browser import Browser, find_browser
    from serving import serving, spec_of

    from llamacli.store.models import catalogue

    program = find_browser()
    assert program is not None, "the page needs a browser"
    model = spec_of(catalogue.DEMO.path, name="smollm2-135m-instruct")
    with (
        tempfile.TemporaryDirectory() as folder,
        serving(model) as live,
        Browser(program, Path(folder), seconds=120) as browser,
    ):
        browser.colours("light")
        browser.resize(1100, 640)
        browser.open(live.base)
        browser.wait("document.querySelector('#model option')", 120)
        browser.press("s", alt=True)
        browser.run(
            "document.querySelector('#set-temperature').value = 0; document.querySelector('#set-max_tokens').value = 60"
        )
        browser.run("document.querySelector('#settings .main').click()")
        browser.click("#input")
        browser.type("Why is the sky blue? Answer in one sentence.")
        browser.press("Enter")
        browser.wait("!document.querySelector('#send').hidden", 120)
        browser.press("t", alt=True)
        browser.click("[data-token='6']")
        browser.wait("document.querySelector('#choices').matches(':popover-open')")
        return browser.screenshot()


def shown(line: str, folder: Path = ROOT, width: int = WIDTH) -> str:
    """Run a command line on a terminal and return the text that remains: no progress bars that were erased."""
    process, descriptor = pty.fork()
    if not process:
        os.chdir(folder)
        environ = {**os.environ, "TERM": "xterm-256color", "COLORTERM": "truecolor"}
        environ["PYTHONPATH"] = str(ROOT)
        code = f'llamacli() {{ "{sys.executable}" -m llamacli "$@"; }}; {line}'
        os.execvpe("bash", ["bash", "-c", code], environ)
    fcntl.ioctl(descriptor, termios.TIOCSWINSZ, struct.pack("HHHH", HEIGHT, width, 0, 0))
    data = b""
    try:
        while piece := os.read(descriptor, 65536):
            data += piece
    except OSError:  # Linux says so when the program has ended
        pass
    os.waitpid(process, 0)
    lines = data.decode().replace("\r\n", "\n").rstrip("\n").split("\n")
    return "\n".join(line.rpartition("\r\x1b[K")[2] for line in lines).replace(str(Path.home()), HOME)


if __name__ == "__main__":
    sys.exit(main())
