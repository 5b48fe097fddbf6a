// One row of a matrix for each workgroup: the largest magnitude of a matrix, by its bits, which are ordered as the magnitudes are.
//
// Header: N, LOWER, THREADS; element.

struct Params { rows: u32, a_shift: u32 }
var<immediate> params: Params;
@group(0) @binding(0) var<storage, read> source: array<u32>;
// Of each matrix: the bits of the largest magnitude, those of the largest sum of a row.
@group(0) @binding(1) var<storage, read_write> norms: array<atomic<u32>>;

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let row = group.x + group.y * 32768u;
    if (row >= params.rows) {
        return;
    }
    let matrix = row / N;
    let first = params.a_shift + matrix * (N * N);
    var own = 0u;
    for (var j = thread; j < N; j += THREADS) {
        own = max(own, source[first + element(row % N, j)] & 0x7fffffffu);
    }
    atomicMax(&norms[2u * matrix], own);
}
