"""Man pages of section 7: the guides."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from llamacli.cli.docs.roff import bold, code, escaped, page_head, plain_lines, section, wrapped
from llamacli.cli.help.topics import Topic
from llamacli.render.guide.blocks import Block, Bullets, Code, Heading, Inline, Paragraph, Table, parse_guide
from llamacli.render.guide.layout import plain


def format_guide(topic: Topic) -> str:
    """Write the man page of a guide."""
    summary = topic.summary[:1].lower() + topic.summary[1:]
    lines = [
        *page_head(topic.page, 7, f"llamacli/cli/help/guides/{topic.name}.md"),
        *section("Name", [wrapped(f"{escaped(topic.page)} \\- {escaped(summary)}")]),
    ]
    for title, blocks in _sections(parse_guide(topic.read())):
        lines += section(title, list(_parts(blocks)))
    commands = [f"{bold('llamacli-' + name)}(1)" for name in topic.commands]
    guides = [f"{bold('llamacli-' + name)}(7)" for name in topic.guides]
    lines += section("See also", [plain_lines(",\n".join([f"{bold('llamacli')}(1)", *commands, *guides]))])
    return "\n".join(lines) + "\n"


def _sections(blocks: Iterable[Block]) -> Iterator[tuple[str, list[Block]]]:
    """The blocks below each heading of level 2; those before the first one are the description."""
    title, found = "Description", list[Block]()
    for block in blocks:
        if isinstance(block, Heading) and block.level == 2:
            yield title, found
            title, found = plain(block.text), []
        else:
            found.append(block)
    yield title, found


def _parts(blocks: Sequence[Block]) -> Iterator[str]:
    after_heading = False
    for block in blocks:
        part = _part(block)
        yield part.removeprefix(".PP\n") if after_heading else part
        after_heading = isinstance(block, Heading)


def _part(block: Block) -> str:
    match block:
        case Heading(_, text):
            return f".SS {escaped(plain(text))}"
        case Paragraph(text):
            return f".PP\n{wrapped(_spans(text))}"
        case Code(_, text):
            return code(text)
        case Bullets(items):
            return "\n".join(_item(item) for item in items)
        case Table(header, rows):
            return "\n".join(_row(row, header) for row in rows)


def _item(item: tuple[Block, ...]) -> str:
    lead, *others = item
    text = wrapped(_spans(lead.text)) if isinstance(lead, Paragraph) else ""
    below = ["\n".join([".RS 2", *(_part(block) for block in others), ".RE"])] if others else []
    return "\n".join([".IP \\(bu 2", text, *below])


def _row(row: tuple[Inline, ...], header: tuple[Inline, ...]) -> str:
    """The first cell as a term, the others as its definition, with their titles if they are several."""
    cells = [
        wrapped(f"{escaped(plain(header[place]))}: {_spans(cell)}" if len(row) > 2 and header[place] else _spans(cell))
        for place, cell in enumerate(row[1:], 1)
        if cell
    ]
    return "\n".join([".TP", _spans(row[0]), "\n.br\n".join(cells)])


def _spans(text: Inline) -> str:
    return "".join(escaped(span.text) if span.style == "plain" else bold(span.text) for span in text)
