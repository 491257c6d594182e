"""Tests of the running services with python's grpcio, and what the load and storm tests share with them."""
