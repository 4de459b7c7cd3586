"""One module per group of commands; each command is one call of the library."""
