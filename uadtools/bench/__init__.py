"""Many methods on the same scans."""
