"""From what people have to a pair store: `tasb data …`."""
