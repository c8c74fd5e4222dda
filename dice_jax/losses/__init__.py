"""Sums -> index -> loss, and the losses that need more than the sums of a region."""
