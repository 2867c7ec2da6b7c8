"""Search in one index or in many, and hybrid search by a fusion recipe."""
