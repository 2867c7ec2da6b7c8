"""MS MARCO passage: the official files and the published teacher scores, verified, into a pair store."""
