"""What a published figure of speed or memory is measured with, one module a benchmark."""
