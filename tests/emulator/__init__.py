"""Tests of the emulator; a package, so that their files may be named as those of the client's."""
