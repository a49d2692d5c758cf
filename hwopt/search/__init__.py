"""Search for the trade-off of accuracy and latency: a study of trials, kept and resumed."""
