// One entry for each invocation, from the memory that the last squaring of its matrix wrote.
//
// Header: N, THREADS, SQUARINGS.

struct Params { count: u32, even_shift: u32, odd_shift: u32, halvings_shift: u32, to_shift: u32 }
var<immediate> params: Params;
@group(0) @binding(0) var<storage, read> even: array<u32>;
@group(0) @binding(1) var<storage, read> odd: array<u32>;
@group(0) @binding(2) var<storage, read> halvings: array<u32>;
@group(0) @binding(3) var<storage, read_write> to: array<u32>;

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let t = (group.x + group.y * 32768u) * THREADS + thread;
    if (t >= params.count * (N * N)) {
        return;
    }
    let count = halvings[params.halvings_shift + t / (N * N)];
    var bits = 0x7fc00000u;
    if (count <= SQUARINGS) {
        if (count % 2u == 0u) {
            bits = even[params.even_shift + t];
        } else {
            bits = odd[params.odd_shift + t];
        }
    }
    to[params.to_shift + t] = bits;
}
