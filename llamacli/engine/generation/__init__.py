"""Generation: scheduler, sequences, slots, sampling and the prefix cache."""
