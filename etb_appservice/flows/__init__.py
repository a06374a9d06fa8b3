"""What the service does. Flows decide; they reach the outside through ports only."""
