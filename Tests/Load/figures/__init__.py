"""Drives the load client against the services and prints figures: see Tests/Load/run."""
