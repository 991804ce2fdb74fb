"""`llamacli templates`: list, show, write and edit prompt templates."""

from __future__ import annotations

import json as json_format
from typing import Annotated

from llamacli.cli.framework.command import command, group
from llamacli.cli.framework.context import AppContext
from llamacli.cli.framework.options import JsonOption
from llamacli.cli.framework.parameters import argument, option
from llamacli.cli.framework.terminal.editor import edit_file, find_editor
from llamacli.errors import UsageError
from llamacli.store.files import paths

TEMPLATE_HELP = "A name from `llamacli templates list`, or a file."

TemplateArgument = Annotated[str, argument(metavar="TEMPLATE", help=TEMPLATE_HELP)]
ProjectOption = Annotated[
    bool, option("--project", help=f"Use the project's {paths.PROJECT_FOLDER_NAME}/templates.", environment=False)
]


@command(name="list", examples=(("List the templates.", "llamacli templates list"),))
def list_(app: AppContext, *, json: JsonOption = False) -> None:
    """List the prompt templates.

    These are those of the project (.llamacli/templates here or in a folder above), your own, the built-in ones, and those of
    llm and fabric, whose names begin with llm: and fabric:.
    """
    from llamacli.render.templates import Listed, format_templates, templates_document
    from llamacli.store.templates import library

    found: list[Listed] = []
    for one in library.templates():
        try:
            found.append((one, library.read(one), ""))
        except UsageError as error:
            found.append((one, None, str(error)))
    if json:
        app.console.write(json_format.dumps(templates_document(found), indent=2) + "\n")
    else:
        app.console.write(format_templates(found, width=app.console.line_width))


@command(
    examples=(
        ("Show a template.", "llamacli templates show translate"),
        ("See what a Modelfile of ollama becomes.", "llamacli templates show ./Modelfile"),
    )
)
def show(app: AppContext, template: TemplateArgument, *, json: JsonOption = False) -> None:
    """Show one template: its texts, variables, options and origin."""
    from llamacli.render.templates import format_template, template_document
    from llamacli.store.templates import library

    found = library.load(template)
    if json:
        app.console.write(json_format.dumps(template_document(template, found), indent=2) + "\n")
    else:
        app.console.show(format_template(template, found, width=app.console.line_width))


@command(examples=(("Edit a copy of a built-in template.", "llamacli templates edit translate"),))
def edit(app: AppContext, template: TemplateArgument, *, project: ProjectOption = False) -> None:
    """Open a template in an editor and check it afterwards.

    A built-in template is copied to your folder first; the copy takes its place. The editor is $VISUAL, $EDITOR, nano or vi.
    """
    from llamacli.store.templates import library

    _check_terminal(app, "edit")
    editor = find_editor(app.console)
    found = library.locate(template)
    file = found.path / "system.md" if found.path.is_dir() else found.path
    if found.scope == "built-in":
        file = library.create(found.name, library.read_text(file), project=project)
    elif project and found.scope != "project":
        raise UsageError(f"{template} is not the project's: {file}", hint="--project is for copies of built-in templates")
    edit_file(editor, file)
    library.load(str(file))
    app.console.note(f"no mistakes in {file}")


@command(
    examples=(
        ("Write a new template in an editor.", "llamacli templates new review-mail"),
        ("Write one for everybody who works on a project.", "llamacli templates new release-notes --project"),
    )
)
def new(
    app: AppContext,
    name: Annotated[str, argument(metavar="NAME", help="Name of the new template.")],
    *,
    project: ProjectOption = False,
) -> None:
    """Create a template with an example in it, and open it in an editor.

    Without a terminal it is only created. Its path is written to standard output.
    """
    from llamacli.store.templates import library

    file = library.create(name, library.NEW, project=project)
    app.console.show(f"{file}\n")
    if app.console.terminals.stdin and app.console.terminals.stdout:
        edit_file(find_editor(app.console), file)
        library.load(str(file))


@command(
    examples=(
        ("Print the folder of your templates.", "llamacli templates path"),
        ("Print the file of one.", "cat $(llamacli templates path translate)"),
    )
)
def path(
    app: AppContext,
    template: Annotated[str | None, argument(metavar="TEMPLATE", help=TEMPLATE_HELP)] = None,
    *,
    project: ProjectOption = False,
) -> None:
    """Print the path of a template, or without one that of the folder of your templates."""
    from llamacli.store.templates import library

    if template is not None:
        app.console.show(f"{library.locate(template).path}\n")
        return
    app.console.show(f"{library.new_path('template', project=project).parent}\n")


def _check_terminal(app: AppContext, name: str) -> None:
    if not (app.console.terminals.stdin and app.console.terminals.stdout):
        raise UsageError(f"templates {name} needs a terminal", hint="`llamacli templates path` prints the file to change")


templates = group(
    "templates", list_, show, edit, new, path,
    help="List, show and write prompt templates.",
    examples=(("List them.", "llamacli templates list"), ("Use one.", "llamacli run -T summarize -f notes.txt")),
)  # fmt: skip
for _one in (list_, show, edit, new, path):
    _one.reads_settings = False
