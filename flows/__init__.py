"""The dataflow: records in, windows, verdicts and incidents out."""
