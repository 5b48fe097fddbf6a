// An invocation for each query looks through the slots in the order of the rows and keeps the first of the best scores.
//
// Header: LOWEST, THREADS, `query_count`, and the binding of the count where it lies on the device.

struct Params { queries: u32, slots: u32, first_query: u32, nearest_shift: u32 }
var<immediate> params: Params;
@group(0) @binding(0) var<storage, read> best: array<vec2<u32>>;
@group(0) @binding(1) var<storage, read_write> nearest: array<u32>;

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let at = (group.x + group.y * 32768u) * THREADS + thread;
    if (at >= query_count()) {
        return;
    }
    var score = LOWEST;
    var index = 0u;
    for (var slot = 0u; slot < params.slots; slot++) {
        let found = best[slot * params.queries + at];
        let reached = bitcast<f32>(found.x);
        if (reached > score) {
            score = reached;
            index = found.y;
        }
    }
    nearest[params.nearest_shift + at] = index;
}
