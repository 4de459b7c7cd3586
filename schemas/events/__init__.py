"""Events: the class of each kind, its identity, its Arrow columns, and upcasts of older versions.

Flow: `event` is the base class → one module per source of events (`rollout_events`, `teacher_events`,
`training_events`, `lake_events`) → `kinds` is their union → `columns` renders Arrow schemas, `upcast`
lifts rows of older versions.
"""
