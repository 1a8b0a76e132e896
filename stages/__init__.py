"""The pipeline's table of contents: one short script per stage of dvc.yaml."""
