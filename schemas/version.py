"""The version of tracelake, as it is written into pins and locks."""

TRACELAKE_VERSION = "0.1.0"
