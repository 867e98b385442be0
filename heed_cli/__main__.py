"""`python -m heed_cli` is the `heed` command, for where scripts are not on the path."""

from heed_cli.main import main

main()
