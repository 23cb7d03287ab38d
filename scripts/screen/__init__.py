"""A long grid on one screen: what runs now, what is left, when it will end."""
