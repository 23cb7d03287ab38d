"""What every package uses: errors a person can act on, canonical files, the record of a turn."""
