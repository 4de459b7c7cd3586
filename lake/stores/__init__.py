"""Where a lake lies: a local folder, memory for tests, S3; what each of them promises, and a probe of it."""
