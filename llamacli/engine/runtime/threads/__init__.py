"""The number of threads of each step, chosen by the measured times of the steps before."""
