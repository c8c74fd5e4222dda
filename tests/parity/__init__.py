"""The pages of docs/coming-from, line by line, against the libraries they speak of."""
