"""Command lines: parse, call a service, print."""
