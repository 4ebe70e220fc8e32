"""The dashboards as code: what each panel asks, and how it becomes the JSON that Grafana loads."""
