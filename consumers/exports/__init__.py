"""Pins as files that other tools read.

Flow: `export` opens a pin and checks what may leave → one module per target (`jsonl`, `hf`, `trl_dpo`,
`trl_prompts`, `atif`) writes its files into a new folder → `dataset_card` describes them → `secret_gate`
searches what was written → `output_folder` gives the folder its name.
"""
