"""What people get to read: checks, sentences, pictures and the pages they stand on."""
