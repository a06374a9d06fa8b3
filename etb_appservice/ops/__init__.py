"""Shows how the service does: metrics, health, logs. Never shows a secret or the text of a message."""
