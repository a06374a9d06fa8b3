"""The sections of the settings, by what they are about. Docs are generated from what is written here."""
