"""One pass over pixels: per-pixel terms, summed; it knows nothing of Dice."""
