"""Scores, their intervals, calibration and operating points; no files, no networks."""
