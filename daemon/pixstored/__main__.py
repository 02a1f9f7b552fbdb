"""`python -m pixstored` is the `pixstored` command."""

from pixstored.cli import main

main()
