"""What a replay will use and cost, before anything is sent: from recorded usage, and in total."""
