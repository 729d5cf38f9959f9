"""Tests of the web monitor."""
