"""Speaks Matrix. The only package that imports mautrix and olm; knows nothing of ETB."""
