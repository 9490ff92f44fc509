"""The command line and its input files."""

from jaxspin.cli.commands import app as app
