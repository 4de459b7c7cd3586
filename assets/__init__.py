"""From events to derived tables and verdicts: pure folds, and Dagster definitions over them."""

if __name__ != "tracelake.assets":
    raise ImportError("import it as `tracelake.assets`: one module has one name")
