"""`tracelake demo`: the whole way of the data at the smallest scale, every part of it real."""
