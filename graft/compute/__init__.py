"""On what a study computes, and TensorFlow's start."""
