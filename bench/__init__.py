"""Measurements on real servers, each beside a limit taken in the same run."""
