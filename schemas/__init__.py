"""Facts and contracts: events, their Arrow schemas, experiment files, the error tree."""
