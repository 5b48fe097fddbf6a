struct Params {
    count: u32,
    shift: u32,
    // The first token among the rows of the tables, and their number.
    first: u32,
    rows: u32,
}
var<immediate> params: Params;
