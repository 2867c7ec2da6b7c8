"""What `tasb doctor` looks at. Each check returns its lines, and imports a heavy package only inside itself."""
