"""Guides as plain text: filled, indented, with code as it is."""

from __future__ import annotations

from llamacli.render.guide.blocks import parse_guide
from llamacli.render.guide.layout import format_guide

TEXT = """\
Text with `code`, **strong words** and a line
end.

- one
- two, which is long enough to be filled over more than one line of forty columns

  ```sh
  echo two
  ```

| term | meaning |
|---|---|
| `-x` | A definition. |
| `--long` | |

| a | b | c |
|---|---|---|
| one | two | three |

### Third

```text
as it is,    and wider than forty columns of a terminal
```
"""


def laid_out(width: int, *, bold: bool = False) -> str:
    return format_guide("title", parse_guide(TEXT), width=width, bold=lambda text: f"\x1b[1m{text}\x1b[0m" if bold else text)


def test_wide() -> None:
    assert laid_out(200) == (
        "title\n"
        "\n"
        "    Text with `code`, strong words and a line end.\n"
        "\n"
        "    - one\n"
        "    - two, which is long enough to be filled over more than one line of forty columns\n"
        "\n"
        "          echo two\n"
        "\n"
        "    `-x`      A definition.\n"
        "    `--long`\n"
        "\n"
        "    one\n"
        "        b: two\n"
        "        c: three\n"
        "\n"
        "  Third\n"
        "\n"
        "        as it is,    and wider than forty columns of a terminal\n"
    )


def test_narrow() -> None:
    assert laid_out(40) == (
        "title\n"
        "\n"
        "  Text with `code`, strong words and a\n"
        "  line end.\n"
        "\n"
        "  - one\n"
        "  - two, which is long enough to be\n"
        "    filled over more than one line of\n"
        "    forty columns\n"
        "\n"
        "      echo two\n"
        "\n"
        "  `-x`\n"
        "      A definition.\n"
        "  `--long`\n"
        "\n"
        "  one\n"
        "      b: two\n"
        "      c: three\n"
        "\n"
        "  Third\n"
        "\n"
        "  as it is,    and wider than forty columns of a terminal\n"
    )


def test_styles_take_no_columns() -> None:
    styled = laid_out(40, bold=True).replace("\x1b[1m", "<").replace("\x1b[0m", ">")
    assert "<title>" in styled
    assert "  Text with <code>, <strong> <words> and a\n  line end." in styled
    assert "  <-x>\n      A definition.\n" in styled
    assert "  <Third>\n" in styled
