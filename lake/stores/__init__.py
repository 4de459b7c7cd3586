"""The places in which a lake can lie: a local folder, S3, and memory for tests.

Flow: `open_store` turns an address into an `ObjectStore` (`local_store`, `s3_store`, `memory_store`); `probe`
tests a remote store before a lake is created in it.
"""
