"""World to events.

Flow: `importers` read traces of other tools; `worlds` are played live; `teachers` are asked about recorded
states, through `calling`; `harvest` takes answers that rollouts already contain. `local_teachers` serve the
demo.
"""

if __name__ != "tracelake.producers":
    raise ImportError("import it as `tracelake.producers`: one module has one name")
