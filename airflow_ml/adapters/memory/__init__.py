"""The in-memory twin of every port: for tests and for trying things out, never for production."""
