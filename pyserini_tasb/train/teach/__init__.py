"""Training the teachers: `tasb teach cat`, `tasb teach colbert`."""
