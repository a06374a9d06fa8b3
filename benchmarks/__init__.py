"""What the service costs over a floor that is measured in the same run, in interleaved pairs."""
