"""Facts and contracts: events, their Arrow schemas, experiment files, the error tree."""

if __name__ != "tracelake.schemas":
    raise ImportError("import it as `tracelake.schemas`: one module has one name")
