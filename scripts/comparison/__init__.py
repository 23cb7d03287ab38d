"""Two results side by side: what is equal, where they part, how far they are from each other, and why that may be."""
