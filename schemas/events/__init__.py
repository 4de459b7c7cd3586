"""Events: what each kind says, its Arrow columns, its identity, and upcasts of older versions.

Flow: `event` is the base of all → one module per producer of facts → `kinds` is their union. `columns`
renders Arrow schemas from them; `upcast` lifts rows of older versions.
"""
