"""The command line: the only room that reads a config."""

from jssl.cli.main import main

__all__ = ["main"]
