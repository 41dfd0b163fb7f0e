"""The folder `schemas/`, drawn from the tables: JSON Schemas and the AsyncAPI document."""
