"""MM-SS (Gong, Jia, Jing, 2024), equation by equation."""
