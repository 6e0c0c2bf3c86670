"""Runs and lists -> what readers and operators see: health, history, diff, report, contract."""
