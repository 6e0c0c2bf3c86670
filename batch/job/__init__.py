"""The nightly job and whatever else writes: settings and tables -> a published run."""
