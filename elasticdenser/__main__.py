"""`python -m elasticdenser`: the command line."""

from elasticdenser.cli import main

main()
