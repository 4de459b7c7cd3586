"""World to events: importers, environments, teachers."""

if __name__ != "tracelake.producers":
    raise ImportError("import it as `tracelake.producers`: one module has one name")
