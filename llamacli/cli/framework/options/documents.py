"""The documents that `-f` names, and how they are read."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, ClassVar

from llamacli.cli.framework.parameters import option
from llamacli.cli.framework.parsers import parse_document
from llamacli.errors import UsageError
from llamacli.values import dataclass

if TYPE_CHECKING:
    from llamacli.backend.child.params import ChildParams
    from llamacli.cli.framework.inputs.documents import Access

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


@dataclass(frozen=True, slots=True, kw_only=True)
class DocumentOptions:
    """Documents, and how they are read."""

    PANEL: ClassVar[str] = "Prompt"

    file: DocumentsOption = ()
    recursive: RecursiveOption = False
    private_addresses: PrivateAddressesOption = False

    def access(self, *, offline: bool, child: ChildParams) -> Access:
        """Return what may be read."""
        from llamacli.cli.framework.inputs.documents import Access

        return Access(recursive=self.recursive, private_addresses=self.private_addresses, offline=offline, child=child)

    def check(self, *, is_recursive_given: bool) -> None:
        """Raise UsageError for -r on a command line without -f. In the settings it is for the lines that have -f."""
        if is_recursive_given and not self.file:
            raise UsageError("-r needs -f, which names a folder", hint="the text that ends an answer is --stop")
