// The squared length of every column: a workgroup for each.
//
// Header: LENGTH.

struct Params { count: u32 }
var<immediate> params: Params;
@group(0) @binding(0) var<storage, read> columns: array<f32>;
@group(0) @binding(1) var<storage, read_write> squares: array<f32>;

const THREADS: u32 = 64u;
var<workgroup> partial: array<f32, THREADS>;

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let column = group.x + group.y * 32768u;
    if (column >= params.count) { return; }
    var sum = 0.0;
    for (var r = thread; r < LENGTH; r += THREADS) {
        let x = columns[column * LENGTH + r];
        sum = fma(x, x, sum);
    }
    partial[thread] = sum;
    for (var half = THREADS / 2u; half > 0u; half /= 2u) {
        workgroupBarrier();
        if (thread < half) { partial[thread] += partial[thread + half]; }
    }
    if (thread == 0u) { squares[column] = partial[0]; }
}
