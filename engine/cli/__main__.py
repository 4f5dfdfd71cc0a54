"""`python -m engine.cli` is `karibu`."""

from engine.cli import main

main()
