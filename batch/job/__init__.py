"""The night: settings and tables -> a published run, and word of how it went; what else writes lies here too."""
