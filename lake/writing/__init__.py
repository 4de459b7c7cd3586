"""The way in: events named and judged, spooled or booked, sealed into landed files, recovered."""
