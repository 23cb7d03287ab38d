"""Where a result comes from: the locked environment, the machine, the code."""
