"""What the service talks about: pure values and pure functions. Nothing here may read, write or wait."""
