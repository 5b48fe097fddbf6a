fn write_vectors(matrix: u32, thread: u32, inside: bool, valid: bool) {}
