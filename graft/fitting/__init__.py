"""What is solved to convergence: the head and the temperature, both convex problems."""
