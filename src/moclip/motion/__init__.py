"""Motion vectors and motion fields, in NumPy alone."""
