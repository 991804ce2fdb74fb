"""`llamacli bench quality`: the command, its options and its report."""
