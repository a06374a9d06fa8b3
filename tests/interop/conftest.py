"""Fixtures with scenes of the whole service."""

from tests.harness.stage import etb, no_complaint, open_scene, running_sandbox, scene

__all__ = ["etb", "no_complaint", "open_scene", "running_sandbox", "scene"]
