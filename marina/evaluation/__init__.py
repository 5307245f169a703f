"""What a run's answers are worth: scores, calibration, comparison, plots and the report."""
