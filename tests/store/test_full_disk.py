"""The log on a disk without room: it can be listed and emptied, and is overwritten there."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ON_SMALL_DISK = ("unshare", "--mount", "sh", "-c", 'mount -t tmpfs -o size=1m none "$0" && exec "$@"')

CODE = """
import os, sys
from pathlib import Path
from llamacli.store.sessions.log import Log

folder = Path(sys.argv[1])
path = folder / "sessions" / "sessions.db"
log = Log(path)
for number in range(20):
    log.add(model="m", prompt="secret " * 200, answer="a", document={})
log.close()
fill = os.open(folder / "fill", os.O_CREAT | os.O_WRONLY)
try:
    while True:
        os.write(fill, b"x" * 512)
except OSError:
    pass
log = Log(path)
numbers = log.numbers()
log.remove(numbers)
log.close()
print(len(numbers), b"secret" in path.read_bytes())
(folder / "fill").unlink()
log = Log(path)
log.add(model="m", prompt="p", answer="a", document={})
print([entry.prompt for entry in log.entries()])
"""


def test_a_log_on_a_full_disk_can_be_emptied(tmp_path: Path) -> None:
    before = [*ON_SMALL_DISK, str(tmp_path)]
    if shutil.which("unshare") is None or subprocess.run([*before, "true"], capture_output=True, check=False).returncode:
        pytest.skip("this system allows no disk of our own")
    command = [*before, sys.executable, "-c", CODE, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("20 False\n['p']\n", "")
