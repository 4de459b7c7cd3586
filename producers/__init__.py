"""World to events: importers, environments, teachers."""
