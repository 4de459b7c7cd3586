"""A pin to training and evaluation to events. The only importer of torch and trl."""
