"""The machine underneath: its Java, its processor, and the packages that pip chose."""
