"""Traces by OpenTelemetry: what is a span, and how spans leave without holding anything up."""
