"""Which inputs a small network answers by itself, and how it learns that."""
