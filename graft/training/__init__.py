"""Gradient descent: the loop, and what it is put together from."""
