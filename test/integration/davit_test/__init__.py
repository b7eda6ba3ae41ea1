"""Harness for tests that drive a whole engine: start and stop it, look at what it leaves on the node."""
