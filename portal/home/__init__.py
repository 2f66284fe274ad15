"""Dashboard, service status, health checks, error pages: views over the apps below."""
