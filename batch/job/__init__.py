"""The nightly job, and other jobs that write: settings and tables -> a published run."""
