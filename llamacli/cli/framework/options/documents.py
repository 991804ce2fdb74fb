"""The documents that `-f` names, and how they are read."""

from typing import Annotated

from llamacli.cli.framework.parameters import option
from llamacli.cli.framework.parsers import parse_document

DocumentsOption = Annotated[
    tuple[str, ...],
    option(
        "-f", "--file", metavar="FILE", parser=parse_document,
        help="Document, quoted pattern or https:// address; text, PDF, DOCX, ODT, EPUB, HTML or notebook; can be repeated; - "
        "is standard input.",
    ),
]  # fmt: skip

RecursiveOption = Annotated[
    bool, option("-r", "--recursive", help="With -f, read the files in folders, except hidden and ignored ones (.gitignore).")
]

ShowTextOption = Annotated[
    bool, option("--show-text", help="Write the text of -f and of standard input, and end.", environment=False)
]

PrivateAddressesOption = Annotated[
    bool, option("--private-addresses", help="Let -f read web pages of private networks and of this machine, also by http://.")
]
