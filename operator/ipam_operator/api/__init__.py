"""The kinds as users write them: pydantic models, and the CRDs generated from them."""
