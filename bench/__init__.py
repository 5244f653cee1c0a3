"""Measurements behind the claims in docs/benchmarks.md; each prints medians and ratios from interleaved runs."""
