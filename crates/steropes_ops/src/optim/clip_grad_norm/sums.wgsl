// A workgroup adds up the squares of VECTORS vectors of four elements for each of its invocations.
//
// Header: THREADS, VECTORS; Stored, wide; total_of.

struct Params {
    // Elements of the range; what stands behind them in the last vector is no element.
    elements: u32,
    first_part: u32,
    groups: u32,
}
var<immediate> params: Params;
@group(0) @binding(0) var<storage, read> gradient: array<Stored>;
@group(0) @binding(1) var<storage, read_write> sums: array<f32>;

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) id: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let group = id.x + id.y * 32768u;
    let first = group * (THREADS * VECTORS) + thread;
    var squares = vec4<f32>();
    for (var k = 0u; k < VECTORS; k++) {
        let i = first + k * THREADS;
        if (i * 4u < params.elements) {
            let inside = vec4<u32>(i * 4u) + vec4<u32>(0u, 1u, 2u, 3u) < vec4<u32>(params.elements);
            let x = select(vec4<f32>(), wide(gradient[i]), inside);
            squares += x * x;
        }
    }
    let sum = total_of((squares.x + squares.y) + (squares.z + squares.w), thread);
    if (thread == 0u && group < params.groups) {
        sums[params.first_part + group] = sum;
    }
}
