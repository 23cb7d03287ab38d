"""A session: one engine process plays a cell's workload several times and writes down what happened."""
