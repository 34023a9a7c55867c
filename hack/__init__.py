"""The local stack: control plane and PostgreSQL for make, the tests and CI alike."""
