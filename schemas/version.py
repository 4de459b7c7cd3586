"""The version of tracelake, written into pins and locks."""

TRACELAKE_VERSION = "0.1.0"
