"""Teachers on this machine, for the demo and for trying out replays: no key, no cost, real HTTP.

Flow: `answers` (an oracle of the demo's world that errs at a known rate) → `server` (OpenAI's API over it);
`smollm` serves a small real language model. Only the demo and `make teachers` use this folder.
"""
