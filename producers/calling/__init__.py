"""One call to one endpoint, and when the next may go.

Flow: `concurrency` (a free slot) → `call` → `http_client` → `answer_reader` (bytes) → `answer_parts`
(chunks) → `validate_answer` → `outcome`, classified by `failures` → `retry` (the wait before the next
attempt).
"""
