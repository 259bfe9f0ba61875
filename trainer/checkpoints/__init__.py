"""Checkpoints that can be trusted: sealed by checksum when whole, named by the tracker only then, checked when used."""
