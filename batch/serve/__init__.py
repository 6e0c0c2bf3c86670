"""Runs and lists -> what readers and operators see: health, history, differences, the report, the contract."""
