"""Launcher for a checkout: `python cli.py search ...` does what the installed `elasticdenser` does."""

from __future__ import annotations

from elasticdenser.cli import main

if __name__ == "__main__":
    main()
