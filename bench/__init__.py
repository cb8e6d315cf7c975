"""Measurements, each beside a limit taken in the same run; the detection's scores and pictures."""
