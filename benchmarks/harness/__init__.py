"""What times and reports: rows, turns, checks, memory, the table; knows no library but JAX."""
