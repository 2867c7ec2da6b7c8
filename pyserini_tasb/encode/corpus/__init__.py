"""`tasb encode`: a corpus to vectors, in units that are finished or not there, whatever happens meanwhile."""
