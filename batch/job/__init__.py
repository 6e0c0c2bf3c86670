"""The nightly job and what else writes: settings and tables -> a published run, notifications."""
