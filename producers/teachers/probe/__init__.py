"""What an endpoint really does for a model, found out by asking it, with the same care for money."""
