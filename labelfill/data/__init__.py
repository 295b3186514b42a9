"""Tables, images and other tools' files: bytes in, bytes out."""
