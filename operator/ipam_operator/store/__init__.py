"""The PostgreSQL allocation store: every statement this product sends."""
