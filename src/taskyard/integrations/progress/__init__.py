"""Progress over HTTP: looks and event streams as JSON, for the template tag's script and for pages of a project."""
