"""The command line as a module: `python -m elasticdenser`."""

from elasticdenser.cli import main

if __name__ == "__main__":
    main()
