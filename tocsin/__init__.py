"""What every Tocsin process agrees on: records, topics, settings, errors, and the command line."""
