"""What a cell scored, whether transfer helped, by how much, and how sure that is."""
