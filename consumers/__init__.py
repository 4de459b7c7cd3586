"""A pin to training and evaluation to events. The only importer of torch and trl."""

if __name__ != "tracelake.consumers":
    raise ImportError("import it as `tracelake.consumers`: one module has one name")
