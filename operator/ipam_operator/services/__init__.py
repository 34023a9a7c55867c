"""Use cases: a decision and its store call, together."""
