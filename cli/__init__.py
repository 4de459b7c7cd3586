"""The command line: each command is one call of the library."""

if __name__ != "tracelake.cli":
    raise ImportError("import it as `tracelake.cli`: one module has one name")
