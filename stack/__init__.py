"""The servers that Tocsin runs against, as local processes, for machines without Docker."""
