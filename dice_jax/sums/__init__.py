"""Pixels -> sums, and sums over pieces."""
