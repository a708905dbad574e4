"""`python -m streamlog`: the command, also where its script is not on the path."""

from streamlog.cli.main import main

main()
