"""`python -m jaxspin.cli`."""

from jaxspin.cli.commands import app

app()
