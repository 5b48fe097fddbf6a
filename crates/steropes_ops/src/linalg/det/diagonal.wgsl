// One workgroup for each matrix: invocations take every 64th pivot, and their results are put together in workgroup memory.

struct Params { count: u32, n: u32, lowest: f32 }
var<immediate> params: Params;
@group(0) @binding(0) var<storage, read> lu: array<f32>;
@group(0) @binding(1) var<storage, read> pivots: array<i32>;

const THREADS: u32 = 64u;
var<workgroup> values: array<f32, THREADS>;

// Pivot number i, with the sign that the exchange of its row gives.
fn signed_pivot(matrix: u32, i: u32) -> f32 {
    let pivot = lu[(matrix * params.n + i) * params.n + i];
    return select(pivot, -pivot, pivots[matrix * params.n + i] != i32(i) + 1);
}

