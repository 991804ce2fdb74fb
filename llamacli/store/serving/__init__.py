"""What a server keeps on disk: the files of its clients, and their batches."""
