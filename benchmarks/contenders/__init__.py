"""The losses of each library, made ready to be checked and timed."""
