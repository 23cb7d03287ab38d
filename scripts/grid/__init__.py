"""The grid: which cells there are, why this grid, and what it costs, settled before anything is computed."""
