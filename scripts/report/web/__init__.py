"""The page report.html: the table, and for each cell what it was read from, in pictures and words."""
