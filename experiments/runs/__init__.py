"""The runs of a study: which, on what data, by how many processes, and what they leave on disk."""
