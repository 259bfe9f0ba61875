"""What a run shows: summary and curves of the quick start."""
