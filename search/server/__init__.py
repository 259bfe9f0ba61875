"""The retrieval server: micro-batches, limits, workers (docs/search_server.md)."""
