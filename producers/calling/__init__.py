"""One call to one endpoint, and when the next may go: HTTP, streamed answers, failures, retries, slots."""
