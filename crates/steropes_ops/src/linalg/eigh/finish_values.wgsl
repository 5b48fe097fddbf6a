fn write_vector(matrix: u32, own: u32, rank: u32, thread: u32, inside: bool, valid: bool) {}
