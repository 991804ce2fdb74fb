"""Many inputs at once: rows and texts read from files, results kept in order, and output files that a run can resume."""
