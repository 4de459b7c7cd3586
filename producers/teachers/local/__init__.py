"""Teachers of one's own machine behind an OpenAI-compatible endpoint."""
