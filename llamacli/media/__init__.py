"""Pictures and sounds: from the bytes of a file to pixels and samples. The only importer of their decoders."""
