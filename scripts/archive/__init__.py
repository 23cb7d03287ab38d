"""The archive of a grid: everything that its table follows from, in one zip that describes and can check itself."""
