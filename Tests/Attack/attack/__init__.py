"""Attacks on HTTP/2 by raw frames: see Tests/Attack/run."""
