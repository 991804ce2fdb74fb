"""`python -m llamacli` is `llamacli`."""

import sys

from llamacli.cli import main

sys.exit(main())
