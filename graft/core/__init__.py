"""What every stage needs: files, sections of params.yaml, random streams, errors."""
