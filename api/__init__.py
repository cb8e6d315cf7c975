"""The HTTP face: logs in, incidents out."""
