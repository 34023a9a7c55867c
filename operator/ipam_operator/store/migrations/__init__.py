"""Numbered migrations, and repeatable ones (`R_`)."""
