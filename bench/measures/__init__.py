"""Measures Godwit against what a user would pick instead; see bench/README.md."""
