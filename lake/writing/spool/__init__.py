"""The local spool: acknowledged events in segment files, sealed into landed files, recovered after a crash."""
