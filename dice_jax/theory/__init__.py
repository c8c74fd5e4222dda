"""What is true of the gradient: statements, closed forms, and how each is verified."""
