struct Params {
    // Results of this launch: parts of at most `part` of the `n` values, `parts` for each of the `inner` columns.
    count: u32,
    n: u32,
    part: u32,
    parts: u32,
    inner: u32,
    // Elements of the bindings before the first one meant.
    from_shift: u32,
    to_shift: u32,
}
var<immediate> params: Params;
@group(0) @binding(0) var<storage, read> x: array<From>;
@group(0) @binding(1) var<storage, read_write> y: array<To>;
