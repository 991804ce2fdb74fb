"""Man pages and shell completions, generated from the commands, their options and the guides.

    python -m llamacli.cli.docs            write man/ and completions/ at the root of the checkout
    python -m llamacli.cli.docs --check    only report the files that are not up to date; exit status 1 if there are any

`pages` collects the facts about commands; `manual`, `guides`, `bash`, `zsh` and `fish` format them.
"""
