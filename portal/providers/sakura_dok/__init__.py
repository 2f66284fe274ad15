"""Sakura 高火力 DOK: container tasks over REST. Facts: the official API document 1.0.0, read 2026-11-23."""

from portal.providers.sakura_dok.adapter import SakuraDok

__all__ = ["SakuraDok"]
