fn place(m: u32, n: u32) -> u32 {
    return m * params.columns + n;
}
