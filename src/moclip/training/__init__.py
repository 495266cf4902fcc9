"""Training of motion networks and heads."""
