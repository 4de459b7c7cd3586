"""Whether a lake is what it says: files, rows, tables and pins held against each other."""
