"""Every line that knows Kopf or the API server."""
