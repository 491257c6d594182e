"""Kills services under load and counts what is left: see Tests/Storm/run."""
