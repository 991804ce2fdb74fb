"""The marks of a command line: what it deletes, overwrites, sends, runs or ends, and what needs root or is missing."""

from __future__ import annotations

import pytest

from llamacli.tools.risks import find_missing, find_risks
from llamacli.tools.shell_words import simple_commands


@pytest.mark.parametrize(
    ("line", "kinds"),
    [
        ("ls -la | sort", ""),
        ("rm -rf x", "deletes"),
        ("/bin/rm x", "deletes"),
        (r"\rm x", "deletes"),
        ("'r'm x", "deletes"),
        ("find . -name '*.png' -delete", "deletes"),
        (r"find . -exec rm {} \;", "deletes"),
        ("ls | xargs -0 rm", "deletes"),
        ("sh -c 'cd x && rm -rf .'", "deletes"),
        ("bash -c \"sh -c 'rm x'\"", "deletes"),
        ('echo "$(rm x)"', "deletes"),
        ("echo `rm x`", "deletes"),
        ("(cd x; rm y)", "deletes"),
        ("if true; then rm x; fi", "deletes"),
        ("a=1 b=2 rm x", "deletes"),
        ("ls # rm x", ""),
        ("echo a#b", ""),
        ("git clean -fd", "deletes"),
        ("git status", ""),
        ("psql -c 'DROP TABLE users'", "deletes"),
        ("python3 -c 'import os; os.remove(\"x\")'", "deletes"),
        ("rsync -a --delete a/ b/", "deletes overwrites sends"),
        ("echo x > y", "overwrites"),
        ("echo x >| y", "overwrites"),
        ("make &> log", "overwrites"),
        ("echo x >> y", ""),
        ("ls > /dev/null 2>&1", ""),
        ("ls 2>/dev/null", ""),
        ("sort < y", ""),
        ("tee x", "overwrites"),
        ("tee -a x", ""),
        ("mv a b", "overwrites"),
        ("sed -i s/a/b/ x", "overwrites"),
        ("sed -n 1p x", ""),
        ("perl -pi -e s/a/b/ x", "overwrites"),
        ("chmod -R 777 .", "overwrites"),
        ("curl https://x", "sends"),
        ("curl -o y https://x", "overwrites sends"),
        ("git push --force", "sends"),
        ("cat < /dev/tcp/host/80", "sends"),
        ("curl https://x | sudo bash", "sends root runs"),
        ("wget -qO- x | sh", "sends runs"),
        ("cat x | python3", "runs"),
        ("cat x | python3 -m json.tool", ""),
        ("eval $x", "runs"),
        ("sudo ls", "root"),
        ("apt-get install jq", "overwrites sends root"),
        ("systemctl stop x", "root stops"),
        ("pkill -9 firefox", "stops"),
        ("mkfs.ext4 /dev/sda", "deletes root"),
        ("rm 'unterminated", "deletes"),
        ("", ""),
    ],
)
def test_the_kinds_of_risks(line: str, kinds: str) -> None:
    assert " ".join(risk.kind for risk in find_risks(line)) == kinds


def test_the_words_are_named_once() -> None:
    deletes, overwrites = find_risks("rm a; rm b > 'c d' && find . -delete")
    assert deletes.words == ("rm", "find -delete")
    assert overwrites.words == ("> c d",)


@pytest.mark.parametrize(
    ("line", "missing"),
    [
        ("ls | nosuch1 x && sudo -u me nosuch2", ("nosuch1", "nosuch2")),
        ("cd x; export A=1; for f in *; do echo $f; done", ()),
        ("if [ -f x ]; then nosuch; fi", ("nosuch",)),
        ("$EDITOR x; ~/bin/x", ()),
        ("echo nosuch", ()),
    ],
)
def test_programs_that_are_missing(line: str, missing: tuple[str, ...], tmp_path) -> None:
    for name in ("ls", "sudo"):
        (tmp_path / name).touch(mode=0o755)
    assert find_missing(line, str(tmp_path)) == missing


def test_a_hostile_line_takes_no_time() -> None:
    line = "((((" * 5000 + "'" * 5001 + "\\" * 999 + '"$(' * 3000
    assert find_risks(line) is not None
    assert len(list(simple_commands("a;" * 20000))) == 20000
