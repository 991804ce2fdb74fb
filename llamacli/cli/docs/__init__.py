"""Man pages and shell completions, written from the commands and options as they are.

    python -m llamacli.cli.documentation           writes man/ and completions/ at the root of the checkout
    python -m llamacli.cli.documentation --check   only tells whether they are as they would be written; exit status 1 if not

`pages` gathers the facts, `manual`, `bash`, `zsh` and `fish` write them.
"""
