"""The chat API that ETB's own web pages call. Speaks HTTP and nothing else: Matrix and ETB are behind ports."""
