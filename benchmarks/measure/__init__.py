"""Running commands and measuring them from outside."""
