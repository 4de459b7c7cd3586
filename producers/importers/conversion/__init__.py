"""What the formats share when they convert records into events.

Flow: `fields` reads single values → `chat` and `model_response` convert messages and replies →
`rollout_builder` collects the events of one rollout.
"""
