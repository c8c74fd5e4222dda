"""What the statements assert, as functions: gradients, masses, curvature, escape times."""
