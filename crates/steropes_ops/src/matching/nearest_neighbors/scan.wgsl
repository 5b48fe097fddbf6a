// What both scans have in common.
struct Params {
    queries: u32,
    rows: u32,
    // The first row of the binding among all rows, rows of a range, groups of queries, slots before those of this launch.
    first_row: u32,
    range: u32,
    groups: u32,
    first_slot: u32,
    // The first query of the binding among all.
    first_query: u32,
    // Values of the bindings before the first one meant.
    queries_shift: u32,
    rows_shift: u32,
}
var<immediate> params: Params;
@group(0) @binding(0) var<storage, read> queries: array<Value>;
@group(0) @binding(1) var<storage, read> rows: array<Value>;
@group(0) @binding(2) var<storage, read_write> best: array<vec2<u32>>;

// NaN by its bits: a comparison with it may say anything where a compiler assumes that there is none.
fn is_number(x: f32) -> bool {
    return (bitcast<u32>(x) & 0x7fffffffu) <= 0x7f800000u;
}
