"""From a cell's transcripts and logprobs to its verdict: groups, first differences, noise, rates, classes."""
