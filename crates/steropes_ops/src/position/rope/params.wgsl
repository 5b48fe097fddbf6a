struct Params {
    count: u32,
    shift: u32,
    // The first token, and the tokens of a batch element.
    first: u32,
    seq: u32,
    // Rows of the tables.
    rows: u32,
    positions_shift: u32,
    // Bits of what a token without a row becomes.
    nan: u32,
}
var<immediate> params: Params;
