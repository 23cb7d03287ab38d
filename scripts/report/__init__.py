"""From the cells' summaries to the table that a person reads, and the controls that bear it out."""
