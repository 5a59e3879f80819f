"""The FastAPI application of the pages: imported at the first request, never by a worker."""
