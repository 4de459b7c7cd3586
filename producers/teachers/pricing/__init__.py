"""What calls cost: price lists, usage, bounds before and amounts after, the budget."""
